//! What a PDF does when it is opened. Looked at is what stands in it as it is, and in object streams that are packed the usual way
//! (FlateDecode alone); what is encrypted, packed otherwise or named by reference cannot be seen, or is not looked for.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use super::unpack::Unpacking;

/// Kinds of actions that run something (ISO 32000-1, sections 12.6.4.5, 12.6.4.13 and 12.6.4.16).
const RUNNING: [&[u8]; 3] = [b"JavaScript", b"Launch", b"Rendition"];
/// The longest name that is looked at, in bytes as they are written: each of ours with all letters escaped is shorter.
const MAX_NAME: usize = 40;
/// Object streams of one file, and their bytes packed and unpacked, all together: they hold no pictures and no pages, so what has more is
/// made to be slow. The packed ones count, too, since a stream may go on for long without unpacking to anything, and others begin in it.
const MAX_STREAMS: usize = 10_000;
const MAX_PACKED: u64 = 64 << 20;
const MAX_UNPACKED: u64 = 64 << 20;
/// Blanks between the word `stream` and the end of its line, which tolerant readers skip.
const MAX_BLANKS: usize = 8;

/// Whether an action in it runs something: `/S`, white space, and the kind, however the names are written. Links may hold the same words.
/// What has more object streams than is looked at counts as such.
pub(super) fn runs(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut names = Names::default();
    let mut chunk = vec![0; super::CHUNK];
    let (mut read, mut streams) = (0_u64, 0);
    let mut left = Left { packed: MAX_PACKED, unpacked: MAX_UNPACKED };
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(names.end());
        }
        let mut packed = Vec::new();
        for (byte, at) in chunk.iter().take(length).zip(read..) {
            match names.take(*byte) {
                Seen::Running => return Ok(true),
                Seen::Packed => packed.push(at),
                Seen::Nothing => {}
            }
        }
        read += length as u64;
        streams += packed.len();
        if streams > MAX_STREAMS {
            return Ok(true);
        }
        for at in packed {
            file.seek(SeekFrom::Start(at))?;
            if unpacked_runs(file, &mut left)? {
                return Ok(true);
            }
            file.seek(SeekFrom::Start(read))?;
        }
    }
}

/// How many bytes of object streams are still looked at.
struct Left {
    packed: u64,
    unpacked: u64,
}

/// The same of the object stream that begins here, or behind an end of line; takes its bytes off what is `left`.
fn unpacked_runs(file: &mut File, left: &mut Left) -> io::Result<bool> {
    let mut packed = BufReader::with_capacity(4096, file);
    let mut first = [0];
    for _ in 0..MAX_BLANKS {
        if packed.read(&mut first)? == 0 || !matches!(first, [b'\r' | b'\n' | b' ' | b'\t']) {
            break;
        }
    }
    let mut names = Names::default();
    let mut packed = first.as_slice().chain(packed).take(left.packed);
    let unpacked = &mut left.unpacked;
    let ended = Unpacking::new().take(&mut packed, |piece| {
        let is_running = |byte: &u8| names.take(*byte) == Seen::Running;
        match unpacked.checked_sub(piece.len() as u64) {
            Some(rest) if !piece.iter().any(is_running) => {
                *unpacked = rest;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    })?;
    left.packed = packed.limit();
    Ok(ended.is_break() || left.packed == 0 || names.end())
}

/// What a byte ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// The name of an action that runs something.
    Running,
    /// The word `stream` of an object stream.
    Packed,
}

/// The names of a PDF, byte by byte.
#[derive(Default)]
struct Names {
    /// The one that is being read, without its slash.
    name: Option<Vec<u8>>,
    /// The end of the word that is being read.
    word: [u8; 7],
    /// Whether nothing but white space has come after `/S`.
    is_kind: bool,
    /// Whether that was so where a comment began, which is white space (section 7.2.4). Names in it count like others: what looks
    /// like a comment may be a text's percent sign.
    was_kind: bool,
    /// Whether `/ObjStm` or `/First` has come in this object (section 7.5.7).
    has_objects: bool,
}

impl Names {
    /// Takes the next byte.
    fn take(&mut self, byte: u8) -> Seen {
        // ISO 32000-1, section 7.2.2.
        let is_space = matches!(byte, 0 | b'\t' | b'\n' | 0x0c | b'\r' | b' ');
        let is_end = is_space || b"()<>[]{}/%".contains(&byte);
        if !is_end {
            match &mut self.name {
                Some(name) if name.len() < MAX_NAME => name.push(byte),
                Some(_) => {}
                None => {
                    self.is_kind = false;
                    self.word.rotate_left(1);
                    self.word[6] = byte;
                }
            }
            return Seen::Nothing;
        }
        let runs = self.end();
        let word = std::mem::take(&mut self.word);
        let is_packed = word == *b"\0stream" && std::mem::take(&mut self.has_objects);
        self.has_objects &= word != *b"\0endobj";
        match byte {
            b'/' => self.name = Some(Vec::new()),
            b'%' => self.was_kind |= std::mem::take(&mut self.is_kind),
            b'\r' | b'\n' => self.is_kind |= std::mem::take(&mut self.was_kind),
            _ if !is_space => self.is_kind = false,
            _ => {}
        }
        if runs {
            Seen::Running
        } else if is_packed {
            Seen::Packed
        } else {
            Seen::Nothing
        }
    }

    fn end(&mut self) -> bool {
        let Some(name) = self.name.take() else { return false };
        let name = unescaped(&name);
        let runs = self.is_kind && RUNNING.contains(&name.as_slice());
        self.is_kind = name == b"S";
        self.has_objects |= name == b"ObjStm" || name == b"First";
        runs
    }
}

/// A name with its `#61` as what they stand for (section 7.3.5).
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.split_at_checked(2).filter(|_| *first == b'#');
        let escaped = digits.and_then(|(digits, after)| Some((hex::decode(digits).ok()?, after)));
        let (bytes, next) = escaped.unwrap_or_else(|| (vec![*first], after));
        plain.extend(bytes);
        rest = next;
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn runs(bytes: &[u8]) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        super::runs(&mut file).unwrap()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).unwrap();
        // What is short is kept as it is, and then found as it is.
        packed.write_all(&[b' '; 3000]).unwrap();
        packed.finish().unwrap()
    }

    /// An object whose stream is so.
    fn object(dictionary: &str, end_of_line: &str, stream: &[u8]) -> Vec<u8> {
        let head = format!("5 0 obj\n<< {dictionary} >>\nstream{end_of_line}");
        [head.as_bytes(), stream, b"\nendstream\nendobj\n"].concat()
    }

    const OBJECTS: &str = "/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode";
    const ACTION: &[u8] = b"7 0 << /S /JavaScript /JS (app.alert(1)) >>";

    #[test]
    fn a_comment_is_white_space_and_a_percent_sign_in_a_text_hides_nothing() {
        for running in [
            "/S %x\n/JavaScript",
            "/S%\r/JavaScript ",
            "/S %a\n%b (c\r\n /Launch>>",
            "/S % /S (x) \n /JavaScript",
            "/T (100%) /S /JavaScript ",
        ] {
            assert!(runs(format!("%PDF-1.7\n<< {running} >>").as_bytes()), "{running}");
        }
        for innocent in
            ["/S (%)\n/JavaScript", "/S x %\n/JavaScript", "/S %x\n/GoTo /D /JavaScript", "%/S\n"]
        {
            assert!(!runs(format!("%PDF-1.7\n<< {innocent} >>").as_bytes()), "{innocent}");
        }
    }

    #[test]
    fn actions_in_packed_object_streams_are_found() {
        assert!(!packed(ACTION).windows(11).any(|it| it == b"/JavaScript"));
        for end_of_line in ["\n", "\r\n", "\r", " \r\n"] {
            assert!(runs(&object(OBJECTS, end_of_line, &packed(ACTION))), "{end_of_line:?}");
            assert!(!runs(&object(OBJECTS, end_of_line, &packed(b"7 0 << /S /GoTo >>"))));
        }
        // However it is named, wherever it begins, and if it is cut off.
        assert!(runs(&object("/Type /O#62jStm", "\n", &packed(ACTION))));
        assert!(runs(&object("/N 1 /First 4", "\n", &packed(ACTION))));
        let far =
            [vec![b' '; super::super::CHUNK - 60], object(OBJECTS, "\n", &packed(ACTION))].concat();
        assert!(runs(&far));
        let cut = packed(&[ACTION, &[b' '; 5000]].concat());
        assert!(runs(&object(OBJECTS, "\n", &cut[..cut.len() - 3])));
        // Pages and pictures are none, nor is what is packed otherwise.
        assert!(!runs(&object("/Length 60 /Filter /FlateDecode", "\n", &packed(ACTION))));
        assert!(!runs(&object(OBJECTS, "\n", b"no zlib")));
        let outlines = b"<< /Type /Outlines /First 3 0 R >>\nendobj\n".as_slice();
        assert!(!runs(&[outlines, &object("/Length 60", "\n", &packed(ACTION))].concat()));
    }

    #[test]
    fn object_streams_that_never_end_are_refused_within_bounds() {
        let large = packed(&vec![b' '; usize::try_from(MAX_UNPACKED).unwrap() / 4 + 1]);
        let one = object(OBJECTS, "\n", &large);
        assert!(!runs(&one));
        assert!(runs(&one.repeat(4)));
        assert!(!runs(&object(OBJECTS, "\n", b"x").repeat(100)));
        // Streams within each other that go on for long and unpack to nothing: empty stored blocks (RFC 1951, section 3.2.4).
        let inner = b" /First stream\n\x78\x9c";
        let length = u16::try_from(inner.len()).unwrap();
        let block = [&[0], &length.to_le_bytes()[..], &(!length).to_le_bytes(), inner].concat();
        let nested = |count| {
            let nothing = [0, 0, 0, 0xff, 0xff].repeat(200_000);
            object(OBJECTS, "\n", &[&[0x78, 0x9c], &block.repeat(count)[..], &nothing].concat())
        };
        assert!(!runs(&nested(3)));
        assert!(runs(&nested(100)));
        assert!(runs(&object("/ObjStm", "\n", b"x").repeat(MAX_STREAMS + 1)));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            pieces in prop::collection::vec(prop_oneof![
                prop::sample::select(vec!["/S", "%", "\n", "/ObjStm", " stream\n", "/JavaScript", "#6", "endobj", "(", ">>"])
                    .prop_map(|it| it.as_bytes().to_vec()),
                Just(packed(b"/S /GoTo")),
                prop::collection::vec(any::<u8>(), 0..20),
            ], 0..30),
        ) {
            let _ = runs(&pieces.concat());
        }
    }
}
