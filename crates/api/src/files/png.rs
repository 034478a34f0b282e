//! Whether a PNG packs more than the pixels that its head promises: decoders pass over the rest, and inflate it all the same.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use super::CHUNK;
use super::unpack::Unpacking;

/// The first pixel, column and row, and how many each pass of an interlaced picture leaves out (PNG, third edition, section 8.1).
const PASSES: [(u32, u32, u32, u32); 7] = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
];

/// Whether its image data hold more than its head says, by more than a chunk. What is no PNG is for the decoder to refuse.
pub(super) fn is_overfull(path: &Path) -> io::Result<bool> {
    let mut file = BufReader::new(File::open(path)?);
    file.seek(SeekFrom::Start(8))?;
    let mut expected = None;
    let (mut data, mut seen) = (Unpacking::new(), 0);
    while let Some((length, kind)) = chunk_head(&mut file)? {
        let mut body = file.by_ref().take(u64::from(length));
        match &kind {
            b"IHDR" => {
                let mut head = [0; 13];
                if body.read_exact(&mut head).is_err() {
                    return Ok(false);
                }
                expected = size(head);
            }
            b"IDAT" => {
                let most = expected.unwrap_or(0).saturating_add(CHUNK as u64);
                let count = |piece: &[u8]| {
                    seen += piece.len() as u64;
                    if seen > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                if data.take(&mut body, count)?.is_break() {
                    return Ok(true);
                }
            }
            // A frame of an animation, of which none but the first picture is shown.
            b"IEND" => return Ok(false),
            _ => {}
        }
        // What is left of it, and its checksum.
        let left = i64::try_from(body.limit()).unwrap_or(i64::MAX);
        file.seek_relative(left.saturating_add(4))?;
    }
    Ok(false)
}

/// The length and the kind of the next chunk (section 5.3).
fn chunk_head(file: &mut impl Read) -> io::Result<Option<(u32, [u8; 4])>> {
    let mut head = [0; 8];
    match file.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, kind @ ..] = head;
    Ok(Some((u32::from_be_bytes([a, b, c, d]), kind)))
}

/// How many bytes the rows have, each with its filter (sections 7.2, 8 and 11.2.1).
fn size(head: [u8; 13]) -> Option<u64> {
    let [w0, w1, w2, w3, h0, h1, h2, h3, depth, colors, _, _, interlace] = head;
    let (width, height) =
        (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
    let channels = match colors {
        0 | 3 => 1,
        4 => 2,
        2 => 3,
        6 => 4,
        _ => return None,
    };
    let rows = |width: u32, height: u32| {
        if width == 0 || height == 0 {
            return Some(0);
        }
        let bits = u64::from(width).checked_mul(channels * u64::from(depth))?;
        u64::from(height).checked_mul(bits.div_ceil(8).checked_add(1)?)
    };
    if interlace == 0 {
        return rows(width, height);
    }
    let pass = |(x, y, across, down): (u32, u32, u32, u32)| {
        rows(width.saturating_sub(x).div_ceil(across), height.saturating_sub(y).div_ceil(down))
    };
    PASSES.into_iter().map(pass).try_fold(0_u64, |sum, rows| sum.checked_add(rows?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use image::codecs::png::PngEncoder;
    use image::{DynamicImage, ImageEncoder};
    use proptest::prelude::*;

    use super::*;

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
    }

    /// A PNG whose image data have so many bytes in all, in pieces.
    fn packed(head: [u8; 13], bytes: usize, piece: usize) -> Vec<u8> {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        std::io::copy(&mut io::repeat(0).take(bytes as u64), &mut packed).unwrap();
        let packed = packed.finish().unwrap();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        png.extend(chunk(b"IHDR", &head));
        for piece in packed.chunks(piece) {
            png.extend(chunk(b"IDAT", piece));
        }
        png.extend(chunk(b"IEND", b""));
        png
    }

    pub(in crate::files) fn small_head() -> [u8; 13] {
        [0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 0]
    }

    fn is_overfull(png: &[u8]) -> bool {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(png).unwrap();
        super::is_overfull(file.path()).unwrap()
    }

    #[test]
    fn more_than_the_head_says_is_found_however_it_is_cut() {
        assert!(!is_overfull(&packed(small_head(), 72, 1000)));
        for piece in [100, 1000, 1_000_000] {
            assert!(is_overfull(&packed(small_head(), 20_000_000, piece)), "{piece}");
        }
    }

    #[test]
    fn what_the_head_says_is_counted_as_decoders_do() {
        assert_eq!(size([0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 0]), Some(72));
        assert_eq!(size([0, 0, 0, 9, 0, 0, 0, 2, 1, 3, 0, 0, 0]), Some(6));
        assert_eq!(size([0, 0, 0, 2, 0, 0, 0, 2, 16, 6, 0, 0, 0]), Some(34));
        // Each pass has its own rows: 1, 1, 2 of one pixel each and so on.
        assert_eq!(
            size([0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 1]),
            Some(64 + 1 + 1 + 1 + 2 + 2 + 4 + 4)
        );
        assert_eq!(size([0xff; 13]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_encoders_write_is_never_too_much(width in 1_u32..60, height in 1_u32..60, kind in 0..6) {
            let image = DynamicImage::new_rgba16(width, height);
            let image = match kind {
                0 => DynamicImage::ImageRgba8(image.into_rgba8()),
                1 => DynamicImage::ImageRgb8(image.into_rgb8()),
                2 => DynamicImage::ImageLuma8(image.into_luma8()),
                3 => DynamicImage::ImageLumaA8(image.into_luma_alpha8()),
                4 => DynamicImage::ImageRgb16(image.into_rgb16()),
                _ => image,
            };
            let mut bytes = Vec::new();
            let encoder = PngEncoder::new(&mut bytes);
            encoder.write_image(image.as_bytes(), width, height, image.color().into()).unwrap();
            prop_assert!(!is_overfull(&bytes));
            // And it is just what was counted.
            let head: [u8; 13] = bytes[16..29].try_into().unwrap();
            let pixels = u64::from(image.color().bytes_per_pixel()) * u64::from(width) + 1;
            prop_assert_eq!(size(head), Some(pixels * u64::from(height)));
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200), head: bool) {
            let start = if head { packed(small_head(), 10, 5) } else { Vec::new() };
            let _ = is_overfull(&[&start[..start.len() / 2], &noise].concat());
        }
    }
}
