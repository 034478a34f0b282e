//! Inflates what strangers have packed (zlib, RFC 1950), piece by piece: whoever asks says when it is enough.

use std::io::{self, Read};
use std::ops::ControlFlow;

use flate2::{Decompress, FlushDecompress, Status};

/// More than the window of the method, 32 KiB: so that nothing which was unpacked before an error is lost.
const PIECE: usize = super::CHUNK;

/// A packed text that comes in one or several parts.
pub(super) struct Unpacking {
    inflate: Decompress,
    input: Vec<u8>,
    output: Vec<u8>,
    has_ended: bool,
}

impl Unpacking {
    pub(super) fn new() -> Self {
        let (input, output) = (vec![0; 4096], vec![0; PIECE]);
        Self { inflate: Decompress::new(true), input, output, has_ended: false }
    }

    /// Unpacks the next part, and gives each piece of it to `each`, until that breaks. What is broken ends there.
    ///
    /// # Errors
    /// When the packed text cannot be read.
    pub(super) fn take(
        &mut self,
        packed: &mut impl Read,
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        while !self.has_ended {
            let length = packed.read(&mut self.input)?;
            let mut rest = self.input.get(..length).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            loop {
                let before = (self.inflate.total_in(), self.inflate.total_out());
                let status = self.inflate.decompress(rest, &mut self.output, FlushDecompress::None);
                let since = |total: u64, before: u64| {
                    usize::try_from(total.saturating_sub(before)).unwrap_or(usize::MAX)
                };
                let read = since(self.inflate.total_in(), before.0);
                let written = since(self.inflate.total_out(), before.1);
                if each(self.output.get(..written).unwrap_or_default()).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                rest = rest.get(read..).unwrap_or_default();
                if matches!(status, Err(_) | Ok(Status::StreamEnd)) {
                    self.has_ended = true;
                    break;
                }
                let is_full = written == self.output.len();
                if (read, written) == (0, 0) || (rest.is_empty() && !is_full) {
                    break;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
