//! What a PDF does when it is opened. Only what stands in it as it is can be seen: much of a PDF may be packed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Kinds of actions that run something (ISO 32000-1, sections 12.6.4.5, 12.6.4.13 and 12.6.4.16).
const RUNNING: [&[u8]; 3] = [b"JavaScript", b"Launch", b"Rendition"];
/// The longest name that is looked at, in bytes as they are written: each of ours with all letters escaped is shorter.
const MAX_NAME: usize = 40;

/// Whether an action in it runs something: `/S`, white space, and the kind, however the names are written. Links may hold the same words.
pub(super) fn runs(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut names = Names::default();
    let mut chunk = vec![0; super::CHUNK];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(names.end());
        }
        if chunk.iter().take(length).any(|byte| names.take(*byte)) {
            return Ok(true);
        }
    }
}

/// The names of a PDF, byte by byte.
#[derive(Default)]
struct Names {
    /// The one that is being read, without its slash.
    name: Option<Vec<u8>>,
    /// Whether nothing but white space has come after `/S`.
    is_kind: bool,
}

impl Names {
    /// Takes the next byte; tells whether the name that it ends runs something.
    fn take(&mut self, byte: u8) -> bool {
        // ISO 32000-1, section 7.2.2.
        let is_space = matches!(byte, 0 | b'\t' | b'\n' | 0x0c | b'\r' | b' ');
        let is_end = is_space || b"()<>[]{}/%".contains(&byte);
        if let Some(name) = self.name.as_mut().filter(|_| !is_end) {
            if name.len() < MAX_NAME {
                name.push(byte);
            }
            return false;
        }
        let runs = self.end();
        if byte == b'/' {
            self.name = Some(Vec::new());
        } else if !is_space {
            self.is_kind = false;
        }
        runs
    }

    fn end(&mut self) -> bool {
        let Some(name) = self.name.take() else { return false };
        let name = unescaped(&name);
        let runs = self.is_kind && RUNNING.contains(&name.as_slice());
        self.is_kind = name == b"S";
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
