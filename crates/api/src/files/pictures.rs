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

use super::{FileError, MEGAPIXELS};
use crate::chat::Refusal;

/// The longer side of a small picture, in pixels.
const THUMBNAIL: u32 = 480;
const JPEG_QUALITY: u8 = 88;
/// The most frames of an animation, and all its pixels together, in millions.
const MAX_FRAMES: usize = 500;
const MAX_ANIMATED_MEGAPIXELS: u64 = 100;
/// No decoder may take more, in bytes: all pixels with four channels of two bytes.
const MAX_ALLOC: u64 = MEGAPIXELS as u64 * 1_000_000 * 8;

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
    limits.max_alloc = Some(MAX_ALLOC);
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
    let frame_pixels = megapixels(decoder.dimensions());
    let mut writer = BufWriter::new(file.as_file());
    {
        let mut encoder = GifEncoder::new_with_speed(&mut writer, 20);
        for (number, frame) in decoder.into_frames().enumerate() {
            let so_far = u64::try_from(number).unwrap_or(u64::MAX).saturating_mul(frame_pixels);
            if number >= MAX_FRAMES || so_far >= MAX_ANIMATED_MEGAPIXELS {
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
