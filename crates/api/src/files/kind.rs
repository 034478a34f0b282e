//! What a file is: decided by what is in it, never by what it is called or said to be. One that its name lies about, or that is two
//! things at once, is refused: a picture that is also an archive or a page is made to be used as that somewhere.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use image::ImageFormat;

use super::{FileError, pdf};
use crate::chat::Refusal;

/// What may be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Jpeg,
    Png,
    Gif,
    Webp,
    Pdf,
    Text,
    Docx,
    Xlsx,
    Pptx,
    Odt,
    Ods,
}

impl Kind {
    /// Its media type, and the extensions of its names, the usual one first.
    fn row(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Jpeg => ("image/jpeg", &["jpg", "jpeg", "jpe", "jfif"]),
            Self::Png => ("image/png", &["png"]),
            Self::Gif => ("image/gif", &["gif"]),
            Self::Webp => ("image/webp", &["webp"]),
            Self::Pdf => ("application/pdf", &["pdf"]),
            Self::Text => ("text/plain", &["txt", "text", "csv", "log", "md"]),
            Self::Docx => (
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                &["docx"],
            ),
            Self::Xlsx => {
                ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", &["xlsx"])
            }
            Self::Pptx => (
                "application/vnd.openxmlformats-officedocument.presentationml.presentation",
                &["pptx"],
            ),
            Self::Odt => ("application/vnd.oasis.opendocument.text", &["odt"]),
            Self::Ods => ("application/vnd.oasis.opendocument.spreadsheet", &["ods"]),
        }
    }

    pub(super) fn mime_type(self) -> &'static str {
        self.row().0
    }

    /// The usual extension.
    pub(super) fn extension(self) -> &'static str {
        self.row().1.first().copied().unwrap_or_default()
    }

    /// How it is decoded, if it is a picture.
    pub(super) fn picture(self) -> Option<ImageFormat> {
        match self {
            Self::Jpeg => Some(ImageFormat::Jpeg),
            Self::Png => Some(ImageFormat::Png),
            Self::Gif => Some(ImageFormat::Gif),
            Self::Webp => Some(ImageFormat::WebP),
            _ => None,
        }
    }

    /// Whether a name says that it is one. A name without an extension says nothing.
    pub(super) fn is_named(self, name: &str) -> bool {
        match extension_of(name) {
            None => true,
            Some(extension) => self.row().1.iter().any(|it| extension.eq_ignore_ascii_case(it)),
        }
    }
}

/// What is looked for anywhere in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// The beginning of something that a browser or a server would run.
    Active,
    /// The same where it also stands in innocent documents.
    Markup,
    /// A part of a document of that kind.
    Part(Kind),
    /// Macros.
    Macros,
}

const MARKS: [(&str, Mark); 10] = [
    ("<script", Mark::Active),
    ("<?php", Mark::Active),
    ("<html", Mark::Markup),
    ("<!doctype html", Mark::Markup),
    ("<svg", Mark::Markup),
    ("<iframe", Mark::Markup),
    ("word/document.xml", Mark::Part(Kind::Docx)),
    ("xl/workbook.xml", Mark::Part(Kind::Xlsx)),
    ("ppt/presentation.xml", Mark::Part(Kind::Pptx)),
    ("vbaproject.bin", Mark::Macros),
];

static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let texts = MARKS.iter().map(|(text, _)| text);
    AhoCorasick::builder().ascii_case_insensitive(true).build(texts).ok()
});

/// How far from the beginning readers of PDF look for theirs.
const PDF_HEAD: usize = 1024;
/// How far from the end readers of archives look for the list of contents: a comment of 65,535 bytes, and the record.
const ZIP_TAIL: u64 = 65_535 + 22;
const ZIP_END: &[u8] = b"PK\x05\x06";

/// What a file is.
///
/// # Errors
/// [`Refusal::FileTypeNotAllowed`] when it is nothing that may be attached, [`Refusal::FileAmbiguous`] when it is several things.
pub(super) fn of(path: &Path) -> Result<Kind, FileError> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(PDF_HEAD as u64).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(Refusal::FileEmpty.into());
    }
    let marks = marks(&mut file)?;
    let has = |mark: Mark| marks.contains(&mark);
    let is_pdf_too = || head.windows(5).any(|it| it == b"%PDF-");
    let kind = match signature(&head) {
        Some(Kind::Pdf) => {
            if has(Mark::Active) || pdf::runs(&mut file)? || ends_as_archive(&mut file)? {
                return Err(Refusal::FileAmbiguous.into());
            }
            Kind::Pdf
        }
        Some(picture) => {
            let runs = has(Mark::Active) || has(Mark::Markup);
            if runs || is_pdf_too() || ends_as_archive(&mut file)? {
                return Err(Refusal::FileAmbiguous.into());
            }
            picture
        }
        None if head.starts_with(b"PK\x03\x04") => {
            if is_pdf_too() {
                return Err(Refusal::FileAmbiguous.into());
            }
            let part = marks.iter().find_map(|mark| match mark {
                Mark::Part(kind) => Some(*kind),
                _ => None,
            });
            let kind = open_document(&head).or(part).ok_or(Refusal::FileTypeNotAllowed)?;
            if has(Mark::Macros) {
                return Err(Refusal::FileTypeNotAllowed.into());
            }
            kind
        }
        None => {
            if !is_text(&mut file)? || head.starts_with(b"#!") {
                return Err(Refusal::FileTypeNotAllowed.into());
            }
            if has(Mark::Active) || has(Mark::Markup) || is_pdf_too() {
                return Err(Refusal::FileAmbiguous.into());
            }
            Kind::Text
        }
    };
    Ok(kind)
}

/// The first bytes of pictures and of PDF, as their specifications have them.
fn signature(head: &[u8]) -> Option<Kind> {
    if head.starts_with(b"\xff\xd8\xff") {
        Some(Kind::Jpeg)
    } else if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Kind::Png)
    } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        Some(Kind::Gif)
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        Some(Kind::Webp)
    } else if head.starts_with(b"%PDF-") {
        Some(Kind::Pdf)
    } else {
        None
    }
}

/// An OpenDocument says first what it is, uncompressed (ODF 1.3, part 2, section 3.3).
fn open_document(head: &[u8]) -> Option<Kind> {
    if head.get(30..38) != Some(b"mimetype") {
        return None;
    }
    let rest = head.get(38..)?;
    // Templates and the like begin with the same text and go on.
    let is = |kind: Kind| {
        let mime = kind.mime_type().as_bytes();
        rest.starts_with(mime) && rest.get(mime.len()) != Some(&b'-')
    };
    [Kind::Odt, Kind::Ods].into_iter().find(|kind| is(*kind))
}

fn marks(file: &mut File) -> io::Result<Vec<Mark>> {
    file.seek(SeekFrom::Start(0))?;
    let finder = FINDER.as_ref().ok_or(io::ErrorKind::OutOfMemory)?;
    let mut found = Vec::new();
    for hit in finder.stream_find_iter(file) {
        let mark = MARKS.get(hit?.pattern().as_usize()).map(|(_, mark)| *mark);
        if let Some(mark) = mark.filter(|mark| !found.contains(mark)) {
            found.push(mark);
        }
    }
    Ok(found)
}

fn ends_as_archive(file: &mut File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(ZIP_TAIL)))?;
    let mut tail = Vec::new();
    file.take(ZIP_TAIL).read_to_end(&mut tail)?;
    Ok(tail.windows(ZIP_END.len()).any(|it| it == ZIP_END))
}

/// Whether it is UTF-8 that people can read.
fn is_text(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut rest: Vec<u8> = Vec::new();
    let mut chunk = vec![0; super::CHUNK];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(rest.is_empty());
        }
        rest.extend(chunk.iter().take(length));
        let valid = match std::str::from_utf8(&rest) {
            Ok(_) => rest.len(),
            // A letter goes on in the next chunk.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Ok(false),
        };
        let tail = rest.split_off(valid);
        let readable = |byte: &u8| *byte >= 0x20 || b"\t\n\r\x0c".contains(byte);
        if !rest.iter().all(readable) {
            return Ok(false);
        }
        rest = tail;
    }
}

/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 100;
/// The longest thing behind a dot that is an extension.
const MAX_EXTENSION_CHARS: usize = 10;

/// A name that can be shown and saved: the last part of a path, without what cannot be seen, turns the direction of writing, or means
/// something to a file system.
pub(super) fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let unseen = |c: &char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            )
    };
    let safe = |c: char| if "<>:\"|?*".contains(c) { '_' } else { c };
    let name: String = last.chars().filter(|c| !unseen(c)).map(safe).collect();
    let name = name.trim_matches(|c: char| c.is_whitespace() || c == '.');
    let length = name.chars().count();
    if length <= MAX_NAME_CHARS {
        return if name.is_empty() { "file".to_owned() } else { name.to_owned() };
    }
    // The extension stays.
    let extension = extension_of(name).unwrap_or_default();
    let room = MAX_NAME_CHARS.saturating_sub(extension.chars().count() + 1);
    let stem: String = name.chars().take(room).collect();
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}

fn extension_of(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    let is_one = !stem.is_empty()
        && (1..=MAX_EXTENSION_CHARS).contains(&extension.chars().count())
        && !extension.contains(char::is_whitespace);
    is_one.then_some(extension)
}

/// The name with an extension that fits what the file is now.
pub(super) fn with_extension(name: &str, extension: &str) -> String {
    let known = extension_of(name);
    let fits = |it: &str| {
        it.eq_ignore_ascii_case(extension)
            || (extension == "jpg"
                && ["jpeg", "jpe", "jfif"].iter().any(|j| it.eq_ignore_ascii_case(j)))
            || (extension == "txt" && !it.is_empty())
    };
    match known {
        Some(it) if fits(it) => name.to_owned(),
        Some(it) => {
            let stem = name.strip_suffix(it).unwrap_or(name).trim_end_matches('.');
            format!("{stem}.{extension}")
        }
        None => format!("{name}.{extension}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn kind_of(bytes: &[u8]) -> Result<Kind, Refusal> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        match of(file.path()) {
            Ok(kind) => Ok(kind),
            Err(FileError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn content_decides_what_a_file_is() {
        assert_eq!(kind_of(b"\xff\xd8\xff\xe0abc"), Ok(Kind::Jpeg));
        assert_eq!(kind_of(b"RIFF\x10\0\0\0WEBPVP8 "), Ok(Kind::Webp));
        assert_eq!(kind_of(b"%PDF-1.7\n%\xe2\xe3\n"), Ok(Kind::Pdf));
        for innocent in [
            &b"%PDF-1.7 << /S /URI /URI (https://shop.example/launch/mug) >>"[..],
            b"%PDF-1.7 << /S /URI /URI (https://shop.example/docs/Web/JavaScript) >>",
            b"%PDF-1.7 << /S /GoTo >> << /Title /Launch >> << /S (x) /JavaScript /S#zz >>",
        ] {
            assert_eq!(kind_of(innocent), Ok(Kind::Pdf), "{innocent:?}");
        }
        assert_eq!(kind_of("Grüße, привет\n".as_bytes()), Ok(Kind::Text));
        assert_eq!(kind_of(b"PK\x03\x04 word/document.xml"), Ok(Kind::Docx));
        let mut odt = vec![0; 30];
        odt[..4].copy_from_slice(b"PK\x03\x04");
        odt.extend(b"mimetypeapplication/vnd.oasis.opendocument.textPK");
        assert_eq!(kind_of(&odt), Ok(Kind::Odt));
        for not in [
            &b"MZ\x90\0\x03"[..],
            b"\x7fELF\x02",
            b"PK\x03\x04 anything",
            b"PK\x03\x04 word/document.xml word/vbaProject.bin",
            b"#!/bin/sh\n",
            b"text with \0 in it",
            b"\xff\xfe\0\x01",
        ] {
            assert_eq!(kind_of(not), Err(Refusal::FileTypeNotAllowed), "{not:?}");
        }
        assert_eq!(kind_of(b""), Err(Refusal::FileEmpty));
    }

    #[test]
    fn what_is_two_things_at_once_is_refused() {
        for polyglot in [
            &b"GIF89a/*\0<SCRIPT>alert(1)</script>"[..],
            b"\x89PNG\r\n\x1a\n <?php system($_GET[0]);",
            b"\xff\xd8\xff\xe0 %PDF-1.4",
            b"\xff\xd8\xff\xe0 PK\x03\x04 PK\x05\x06 and a comment",
            b"%PDF-1.4 PK\x05\x06",
            b"%PDF-1.4 << /OpenAction << /S /JavaScript /JS (app.alert(1)) >> >>",
            b"%PDF-1.4 << /S /Launch /Win << /F (cmd.exe) >> >>",
            b"%PDF-1.4 << /S /J#61vaScript /JS (app.alert(1)) >>",
            b"%PDF-1.4 <</#53\r\n/JavaScript",
            b"\xff\xd8\xff\xfe\0\x20<html><body onload=alert(1)>",
            b"PK\x03\x04 %PDF-1.4 word/document.xml",
            b"<!DOCTYPE html><p>Hello</p>",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        ] {
            assert_eq!(kind_of(polyglot), Err(Refusal::FileAmbiguous), "{polyglot:?}");
        }
    }

    #[test]
    fn names_say_what_they_are_or_nothing() {
        assert!(Kind::Jpeg.is_named("Photo.JPEG") && Kind::Jpeg.is_named("photo"));
        assert!(!Kind::Jpeg.is_named("photo.png") && !Kind::Pdf.is_named("bill.pdf.exe"));
        assert_eq!(with_extension("photo.webp", "jpg"), "photo.jpg");
        assert_eq!(with_extension("photo.JPEG", "jpg"), "photo.JPEG");
        assert_eq!(with_extension("photo", "png"), "photo.png");
        assert_eq!(with_extension("table.csv", "txt"), "table.csv");
    }

    #[test]
    fn names_lose_what_is_hostile_in_them() {
        for (hostile, clean) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
            ("photo\u{202e}gpj.exe", "photogpj.exe"),
            ("a\r\nContent-Type: text/html", "aContent-Type_ text"),
            ("..", "file"),
            ("", "file"),
            (" . ", "file"),
            ("a\"b.txt", "a_b.txt"),
        ] {
            let cleaned = clean_name(hostile);
            if hostile.contains("Content-Type") {
                assert!(!cleaned.contains(['\r', '\n', '/']), "{cleaned}");
            } else {
                assert_eq!(cleaned, clean);
            }
        }
        let long = clean_name(&format!("{}.jpeg", "ж".repeat(500)));
        assert!(long.chars().count() == 100 && long.ends_with(".jpeg"), "{long}");
    }

    proptest! {
        #[test]
        fn no_name_and_no_content_panics(name in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let clean = clean_name(&name);
            prop_assert!(!clean.is_empty() && clean.chars().count() <= 100);
            let hostile = clean.contains(['/', '\\', '\n', '\u{202e}']);
            prop_assert!(!hostile);
            prop_assert!(!with_extension(&clean, "png").is_empty());
            let _ = kind_of(&bytes);
        }
    }
}
