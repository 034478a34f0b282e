//! Files in a folder of this machine.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use super::{ByteStream, Storage, blocking, stream};

/// A folder, with 256 folders in it so that none grows too long.
pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keys are our own: letters and digits, two at least.
    fn path(&self, key: &str) -> io::Result<PathBuf> {
        let is_ours = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match key.get(..2) {
            Some(start) if is_ours => Ok(self.folder.join(start).join(key)),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }
}

impl Storage for Disk {
    fn put<'a>(&'a self, key: &'a str, file: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let (from, to) = (file.to_owned(), self.path(key)?);
            blocking(move || {
                let folder = to.parent().ok_or(ErrorKind::NotFound)?;
                fs::create_dir_all(folder)?;
                // What is told to be there is on the disk.
                File::open(&from)?.sync_all()?;
                fs::rename(&from, &to)?;
                File::open(folder)?.sync_all()
            })
            .await
        })
    }

    fn get<'a>(
        &'a self,
        key: &'a str,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, io::Result<ByteStream>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let file = blocking(move || {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(from))?;
                Ok(file)
            })
            .await?;
            Ok(stream(file, length))
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let path = self.path(key)?;
            blocking(move || match fs::remove_file(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                done => done,
            })
            .await
        })
    }
}
