//! Pictures, decoded and written anew: what is kept holds pixels and nothing else, neither where and by whom it was taken nor whatever
//! else was put into the file. What it would take in memory is known from its head, before anything is decoded.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::metadata::Orientation;
use image::{
    AnimationDecoder, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
};
use tempfile::{NamedTempFile, TempPath};

use super::{FileError, MEGAPIXELS, png};
use crate::chat::Refusal;

/// The longer side of a small picture, in pixels.
const THUMBNAIL: u32 = 480;
const JPEG_QUALITY: u8 = 88;
/// The most frames of an animation, and all its pixels together.
const MAX_FRAMES: usize = 500;
const MAX_ANIMATED_PIXELS: u64 = 100_000_000;
/// No decoder may take more, in bytes: all pixels with four channels of two bytes.
const MAX_ALLOC: u64 = MEGAPIXELS as u64 * 1_000_000 * 8;

/// The same of a PNG, whose decoder takes it for one row, the colour profile and texts alone.
const MAX_PNG_ALLOC: u64 = 16 << 20;

/// A picture that was written anew.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) file: TempPath,
    pub(super) thumbnail: TempPath,
    pub(super) size: u64,
    pub(super) mime_type: &'static str,
    pub(super) extension: &'static str,
    pub(super) dimensions: (u32, u32),
}

impl From<ImageError> for FileError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                // Decoders call what they cannot make sense of an error of reading, too.
                tracing::debug!(%error, "a picture cannot be read");
                Refusal::FileUnreadable.into()
            }
            ImageError::Limits(_) => Refusal::ImageTooLarge.into(),
            _ => Refusal::FileUnreadable.into(),
        }
    }
}

fn open(path: &Path, format: ImageFormat) -> Result<impl ImageDecoder, FileError> {
    let mut reader = ImageReader::with_format(BufReader::new(File::open(path)?), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(if format == ImageFormat::Png { MAX_PNG_ALLOC } else { MAX_ALLOC });
    reader.limits(limits);
    Ok(reader.into_decoder()?)
}

fn megapixels((width, height): (u32, u32)) -> u64 {
    (u64::from(width) * u64::from(height)).div_ceil(1_000_000).max(1)
}

/// How many millions of pixels a picture has, as its head says.
///
/// # Errors
/// [`Refusal::ImageTooLarge`] when that is too many.
pub(super) fn measure(path: &Path, format: ImageFormat) -> Result<u32, FileError> {
    let megapixels = megapixels(open(path, format)?.dimensions());
    if megapixels > u64::from(MEGAPIXELS) {
        return Err(Refusal::ImageTooLarge.into());
    }
    Ok(u32::try_from(megapixels).unwrap_or(MEGAPIXELS))
}

/// Decodes a picture and writes it, and a small one of it, into new files.
///
/// # Errors
/// Why it is not taken.
pub(super) fn write_anew(
    path: &Path,
    format: ImageFormat,
    folder: &Path,
) -> Result<Picture, FileError> {
    if format == ImageFormat::Png && png::is_overfull(path)? {
        return Err(Refusal::ImageTooLarge.into());
    }
    let mut decoder = open(path, format)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    let has_alpha = image.color().has_alpha();
    let image = if has_alpha {
        DynamicImage::ImageRgba8(image.into_rgba8())
    } else {
        DynamicImage::ImageRgb8(image.into_rgb8())
    };
    let new_file = || tempfile::Builder::new().prefix("picture-").tempfile_in(folder);
    let small = if image.width().max(image.height()) > THUMBNAIL {
        image.thumbnail(THUMBNAIL, THUMBNAIL)
    } else {
        image.clone()
    };
    let thumbnail = new_file()?;
    write(&small, has_alpha, &thumbnail)?;
    let file = new_file()?;
    let dimensions = (image.width(), image.height());
    let (mime_type, extension) = match format {
        ImageFormat::Gif => {
            drop(image);
            animate(path, &file)?;
            ("image/gif", "gif")
        }
        // A photograph is never written as PNG: it would be many times as long.
        ImageFormat::Jpeg => write(&image, false, &file)?,
        ImageFormat::WebP => write(&image, has_alpha, &file)?,
        _ => write(&image, true, &file)?,
    };
    let size = file.as_file().metadata()?.len();
    Ok(Picture {
        file: file.into_temp_path(),
        thumbnail: thumbnail.into_temp_path(),
        size,
        mime_type,
        extension,
        dimensions,
    })
}

/// Writes a picture as PNG, or as JPEG.
fn write(
    image: &DynamicImage,
    as_png: bool,
    file: &NamedTempFile,
) -> Result<(&'static str, &'static str), FileError> {
    let mut writer = BufWriter::new(file.as_file());
    let written = if as_png {
        image.write_with_encoder(PngEncoder::new(&mut writer))?;
        ("image/png", "png")
    } else {
        image.write_with_encoder(JpegEncoder::new_with_quality(&mut writer, JPEG_QUALITY))?;
        ("image/jpeg", "jpg")
    };
    writer.flush()?;
    Ok(written)
}

/// Writes the frames of a GIF one after the other, so that one of them is in memory at a time.
fn animate(path: &Path, file: &NamedTempFile) -> Result<(), FileError> {
    let mut decoder = GifDecoder::new(BufReader::new(File::open(path)?))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    decoder.set_limits(limits)?;
    let (width, height) = decoder.dimensions();
    let frame_pixels = u64::from(width) * u64::from(height);
    let mut writer = BufWriter::new(file.as_file());
    {
        let mut encoder = GifEncoder::new_with_speed(&mut writer, 20);
        for (number, frame) in decoder.into_frames().enumerate() {
            let so_far = u64::try_from(number).unwrap_or(u64::MAX).saturating_mul(frame_pixels);
            if number >= MAX_FRAMES || so_far >= MAX_ANIMATED_PIXELS {
                return Err(Refusal::ImageTooLarge.into());
            }
            if number == 1 {
                encoder.set_repeat(Repeat::Infinite)?;
            }
            encoder.encode_frame(frame?)?;
        }
    }
    writer.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::LazyLock;

    use image::codecs::webp::WebPEncoder;
    use image::{ImageEncoder, Rgb, RgbImage};
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [ImageFormat; 3] = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP];

    /// Exif (CIPA DC-008) with an orientation, and a GPS directory that says where.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
        tiff.extend([0, 2]);
        tiff.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
        // The GPS directory at 38, with GPSMapDatum at 56.
        tiff.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38]);
        tiff.extend([0, 0, 0, 0]);
        tiff.extend([0, 1, 0, 18, 0, 2, 0, 0, 0, 12, 0, 0, 0, 56]);
        tiff.extend([0, 0, 0, 0]);
        tiff.extend(b"SECRET-PLACE");
        tiff
    }

    /// Lying, its upper left quarter red, its upper right one green, and blue below.
    fn picture(format: ImageFormat, orientation: u8) -> Vec<u8> {
        let image = RgbImage::from_fn(64, 32, |x, y| match (x < 32, y < 16) {
            (true, true) => Rgb([250, 0, 0]),
            (false, true) => Rgb([0, 250, 0]),
            _ => Rgb([0, 0, 250]),
        });
        let mut bytes = Vec::new();
        let exif = exif(orientation);
        match format {
            ImageFormat::Jpeg => {
                let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
                encoder.set_exif_metadata(exif).unwrap();
                image.write_with_encoder(encoder).unwrap();
            }
            ImageFormat::Png => {
                let mut encoder = PngEncoder::new(&mut bytes);
                encoder.set_exif_metadata(exif).unwrap();
                image.write_with_encoder(encoder).unwrap();
            }
            ImageFormat::WebP => {
                let mut encoder = WebPEncoder::new_lossless(&mut bytes);
                encoder.set_exif_metadata(exif).unwrap();
                image.write_with_encoder(encoder).unwrap();
            }
            _ => {
                let mut encoder = GifEncoder::new(&mut bytes);
                for _ in 0..3 {
                    let frame = DynamicImage::ImageRgb8(image.clone()).into_rgba8();
                    encoder.encode_frame(image::Frame::new(frame)).unwrap();
                }
            }
        }
        bytes
    }

    fn anew(bytes: &[u8], format: ImageFormat) -> Result<Picture, FileError> {
        static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        measure(file.path(), format)?;
        write_anew(file.path(), format, FOLDER.path())
    }

    /// In which corner the red and the green quarter are: across, then down.
    fn corners(path: &Path) -> [Option<(bool, bool)>; 2] {
        let image = ImageReader::open(path).unwrap().with_guessed_format().unwrap();
        let image = image.decode().unwrap().into_rgb8();
        let (width, height) = image.dimensions();
        [0, 1].map(|channel: usize| {
            let all = [(false, false), (true, false), (false, true), (true, true)];
            all.into_iter().find(|(right, low)| {
                let at = |is_far: bool, length: u32| length / 4 + u32::from(is_far) * length / 2;
                let pixel = image.get_pixel(at(*right, width), at(*low, height));
                pixel.0.iter().enumerate().all(|(it, value)| (it == channel) == (*value > 128))
            })
        })
    }

    #[test]
    fn a_photograph_stands_upright_and_forgets_where_it_was_taken() {
        let (left, right, high, low) = (false, true, false, true);
        // Where the first row and the first column are seen (CIPA DC-008, section 4.6.5, Orientation), for the first row's
        // first and last pixel.
        let expected = [
            (1, (left, high), (right, high)),
            (2, (right, high), (left, high)),
            (3, (right, low), (left, low)),
            (4, (left, low), (right, low)),
            (5, (left, high), (left, low)),
            (6, (right, high), (right, low)),
            (7, (right, low), (right, high)),
            (8, (left, low), (left, high)),
        ];
        for format in FORMATS {
            for (orientation, red, green) in expected {
                let what = format!("{format:?} {orientation}");
                let taken = picture(format, orientation);
                assert!(taken.windows(12).any(|it| it == b"SECRET-PLACE"), "{what}");
                let written = anew(&taken, format).unwrap();
                let size = if orientation < 5 { (64, 32) } else { (32, 64) };
                assert_eq!(written.dimensions, size, "{what}");
                for path in [&written.file, &written.thumbnail] {
                    assert_eq!(corners(path), [Some(red), Some(green)], "{what}");
                    let bytes = fs::read(path).unwrap();
                    for gone in [&b"SECRET"[..], b"Exif", b"EXIF", b"eXIf", b"tEXt"] {
                        assert!(!bytes.windows(gone.len()).any(|it| it == gone), "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn heads_that_promise_too_much_are_refused_by_their_heads() {
        let mut gif = b"GIF89a\xff\xff\xff\xff\0\0\0".to_vec();
        gif.extend(b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;");
        // A canvas of 16384 by 16384.
        let mut webp = b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0".to_vec();
        webp.extend(b"VP8L\x06\0\0\0\x2f\xff\xff\xff\x0f\0");
        let mut jpeg = picture(ImageFormat::Jpeg, 1);
        let head = jpeg.windows(2).position(|it| it == b"\xff\xc0").unwrap();
        jpeg.splice(head + 5..head + 9, [0xff, 0xdc, 0xff, 0xdc]);
        for (bytes, format) in
            [(gif, ImageFormat::Gif), (webp, ImageFormat::WebP), (jpeg, ImageFormat::Jpeg)]
        {
            let refused = anew(&bytes, format).unwrap_err();
            assert!(
                matches!(
                    refused,
                    FileError::Refused(Refusal::ImageTooLarge | Refusal::FileUnreadable)
                ),
                "{format:?}: {refused:?}"
            );
        }
    }

    static SEEDS: LazyLock<Vec<(ImageFormat, Vec<u8>)>> = LazyLock::new(|| {
        let formats = FORMATS.into_iter().chain([ImageFormat::Gif]);
        formats.map(|format| (format, picture(format, 6))).collect()
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_damaged_picture_is_refused_or_shown_and_never_panics(
            seed in 0_usize..4,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            kept in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let (format, bytes) = &SEEDS[seed];
            let mut bytes = bytes.clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(kept) = kept {
                bytes.truncate(kept.index(bytes.len()));
            }
            let _ = anew(&bytes, *format);
        }

        #[test]
        fn noise_is_refused_and_never_panics(
            format in prop::sample::select(&[ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP]),
            is_named: bool,
            noise in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let head: &[u8] = match format {
                ImageFormat::Jpeg => b"\xff\xd8\xff",
                ImageFormat::Png => b"\x89PNG\r\n\x1a\n",
                ImageFormat::Gif => b"GIF89a",
                _ => b"RIFF\x40\0\0\0WEBPVP8 ",
            };
            let bytes = [if is_named { head } else { b"" }, &noise].concat();
            let _ = anew(&bytes, format);
        }
    }
}
