//! Files that people attach: taken in, looked at, kept, given back and removed. What is known of them, and who may see them,
//! is for `chat::attachments`; here are bytes.
//!
//! An upload is streamed to a file of its own, its type is decided by what is in it ([`kind`]), a picture is decoded and written
//! anew ([`pictures`], each in its turn in the [`workshop`]), and the result goes into the storage: a folder ([`disk`]) or a bucket ([`s3`]).

mod disk;
mod kind;
mod pdf;
mod pictures;
pub mod places;
mod png;
mod s3;
pub mod sweep;
mod unpack;
mod workshop;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use actix_web::web::Bytes;
use anyhow::{Context, Result};
use chaffer_shared::config;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use self::places::Places;
use self::workshop::Workshop;
use crate::chat::Refusal;

/// Millions of pixels that are decoded at the same time, all pictures together; and the most that one may have.
const MEGAPIXELS: u32 = 40;
/// Bytes that are read from a file at once.
const CHUNK: usize = 64 * 1024;

/// The bytes of a file.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Where files are kept, under keys that we make up.
pub trait Storage: Send + Sync {
    /// Keeps a file; it may be moved.
    fn put<'a>(&'a self, key: &'a str, file: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// So many bytes of a file, from one on.
    fn get<'a>(
        &'a self,
        key: &'a str,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, io::Result<ByteStream>>;
    /// Removes a file, which may be gone already.
    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, io::Result<()>>;
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Of what is in it.
    #[error("{}", .0.detail())]
    Refused(Refusal),
    /// Pictures of others are worked on.
    #[error("many pictures are worked on at the moment")]
    Busy,
    /// The disk or the storage failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl From<Refusal> for FileError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A file that may be kept: looked at, and written anew where it is a picture.
#[derive(Debug)]
pub struct Prepared {
    /// A random key of its own.
    pub key: String,
    pub name: String,
    pub size: u64,
    pub mime_type: &'static str,
    /// Width and height of a picture, in pixels.
    pub dimensions: Option<(u32, u32)>,
    /// The key of the small picture.
    pub thumbnail_key: Option<String>,
    file: TempPath,
    thumbnail: Option<TempPath>,
}

/// All that is done with files.
pub struct Files {
    /// Where uploads are until they are kept.
    uploads: PathBuf,
    storage: Box<dyn Storage>,
    /// Those who upload now.
    pub places: Places,
    workshop: Workshop,
    /// Wakes the one that removes.
    removed: Notify,
}

impl Files {
    /// The files of this installation. A folder that cannot be written to is no reason not to start: it is told, and so is everybody who uploads.
    ///
    /// # Errors
    /// When the settings of the bucket cannot be meant.
    pub fn open(config: &config::Files) -> Result<Self> {
        let folder = PathBuf::from(&config.folder);
        let uploads = folder.join("uploads");
        if let Err(error) = std::fs::create_dir_all(&uploads) {
            tracing::error!(
                folder = %folder.display(),
                %error,
                "the folder for files cannot be made: nothing can be attached; correct files.folder"
            );
        }
        let storage: Box<dyn Storage> = if config.s3_bucket.is_empty() {
            Box::new(disk::Disk::new(folder))
        } else {
            Box::new(s3::S3::new(config).context("the settings files.s3_* do not hold together")?)
        };
        Ok(Self {
            uploads,
            storage,
            places: Places::default(),
            workshop: Workshop::new(),
            removed: Notify::new(),
        })
    }

    /// Files in a storage of a test's own, which takes no uploads.
    #[cfg(test)]
    pub(crate) fn of_storage(storage: Box<dyn Storage>) -> Self {
        Self {
            uploads: PathBuf::new(),
            storage,
            places: Places::default(),
            workshop: Workshop::new(),
            removed: Notify::new(),
        }
    }

    /// A new, empty file for an upload; gone when it is dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn new_file(&self) -> io::Result<NamedTempFile> {
        let folder = self.uploads.clone();
        blocking(move || tempfile::Builder::new().prefix("upload-").tempfile_in(folder)).await
    }

    /// Looks at an upload and makes of it what is kept.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn prepare(
        &self,
        upload: NamedTempFile,
        name: &str,
        images_only: bool,
    ) -> Result<Prepared, FileError> {
        let upload = upload.into_temp_path();
        let (kind, upload) = refusing(move || {
            let kind = kind::of(&upload)?;
            Ok((kind, upload))
        })
        .await?;
        if images_only && kind.picture().is_none() {
            return Err(Refusal::FileTypeNotAllowed.into());
        }
        let name = kind::clean_name(name);
        if !kind.is_named(&name) {
            return Err(Refusal::FileTypeMismatch.into());
        }
        let key = hex::encode(rand::random::<[u8; 16]>());
        let Some(format) = kind.picture() else {
            let size = std::fs::metadata(&upload)?.len();
            let name = kind::with_extension(&name, kind.extension());
            return Ok(Prepared {
                key,
                name,
                size,
                mime_type: kind.mime_type(),
                dimensions: None,
                thumbnail_key: None,
                file: upload,
                thumbnail: None,
            });
        };
        let (megapixels, upload) = refusing(move || {
            let megapixels = pictures::measure(&upload, format)?;
            Ok((megapixels, upload))
        })
        .await?;
        let folder = self.uploads.clone();
        let work = move || pictures::write_anew(&upload, format, &folder);
        let picture = self.workshop.run(megapixels, work).await?;
        Ok(Prepared {
            thumbnail_key: Some(format!("{key}-thumbnail")),
            key,
            name: kind::with_extension(&name, picture.extension),
            size: picture.size,
            mime_type: picture.mime_type,
            dimensions: Some(picture.dimensions),
            file: picture.file,
            thumbnail: Some(picture.thumbnail),
        })
    }

    /// Keeps what was prepared.
    ///
    /// # Errors
    /// The storage's.
    pub async fn keep(&self, prepared: &Prepared) -> io::Result<()> {
        self.storage.put(&prepared.key, &prepared.file).await?;
        if let (Some(key), Some(file)) = (&prepared.thumbnail_key, &prepared.thumbnail) {
            self.storage.put(key, file).await?;
        }
        Ok(())
    }

    /// So many bytes of a file, from one on.
    ///
    /// # Errors
    /// The storage's.
    pub async fn get(&self, key: &str, from: u64, length: u64) -> io::Result<ByteStream> {
        self.storage.get(key, from, length).await
    }

    /// Whether the storage takes, gives and removes files at the moment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn try_out(&self) -> io::Result<()> {
        try_out(&*self.storage, &self.uploads).await
    }

    /// Has what was given up be removed soon.
    pub fn sweep(&self) {
        self.removed.notify_one();
    }
}

/// Whether the bucket that the settings name takes, gives and removes files.
///
/// # Errors
/// What is wrong with it, or with the settings.
pub async fn try_bucket(config: &config::Files) -> Result<()> {
    let bucket = s3::S3::new(config)?;
    Ok(try_out(&bucket, &std::env::temp_dir()).await?)
}

/// Keeps a small file, reads it back and removes it.
async fn try_out(storage: &dyn Storage, folder: &Path) -> io::Result<()> {
    const CONTENT: &[u8] = b"chaffer tries out the storage for files";
    let folder = folder.to_owned();
    let file = blocking(move || {
        let mut file = tempfile::Builder::new().prefix("upload-").tempfile_in(folder)?;
        file.write_all(CONTENT)?;
        Ok(file.into_temp_path())
    })
    .await?;
    let key = format!("trial-{}", hex::encode(rand::random::<[u8; 16]>()));
    storage.put(&key, &file).await?;
    let mut chunks = storage.get(&key, 1, CONTENT.len() as u64 - 1).await?;
    let mut read = Vec::new();
    while let Some(chunk) = chunks.next().await {
        read.extend(chunk?);
    }
    storage.remove(&key).await?;
    if CONTENT.get(1..) != Some(&read) {
        return Err(io::Error::other("the storage gives back something else than it was given"));
    }
    Ok(())
}

/// Runs what waits for the disk or takes its time on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The same for what looks into files of strangers: what panics there is a file that cannot be read.
async fn refusing<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Refusal::FileUnreadable.into()))
}

/// So many bytes of an open file, a chunk at a time.
fn stream(file: File, length: u64) -> ByteStream {
    let next = |(mut file, left): (File, u64)| async move {
        if left == 0 {
            return None;
        }
        let read = blocking(move || {
            let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
            let length = file.read(&mut chunk)?;
            chunk.truncate(length);
            Ok((chunk, file))
        });
        match read.await {
            Ok((chunk, _)) if chunk.is_empty() => {
                Some((Err(io::ErrorKind::UnexpectedEof.into()), None))
            }
            Ok((chunk, file)) => {
                let left = left.saturating_sub(chunk.len() as u64);
                Some((Ok(Bytes::from(chunk)), Some((file, left))))
            }
            Err(error) => Some((Err(error), None)),
        }
    };
    stream::unfold(Some((file, length)), move |state| async move { next(state?).await }).boxed()
}
