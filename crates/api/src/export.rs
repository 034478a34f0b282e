//! Packs what is kept of one person (`chat/export.rs`) into a ZIP: page by page into a file that has no name, so that neither
//! memory nor anybody else holds it, and that is gone with the answer.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::chat::ChatError;
use crate::chat::export::{self, Page};
use crate::files::Files;
use crate::store::{Attachment, Id, Reader, Store, StoreError, User};

/// Exports that are made at once; each keeps a reader of the database busy now and then.
static UNDER_WAY: Semaphore = Semaphore::const_new(2);
/// How long one may take in all, that others get their turn: the storage for files may be slow.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// The right to make an export now.
pub struct Turn(#[expect(dead_code, reason = "given back when dropped")] SemaphorePermit<'static>);

impl Turn {
    /// Takes a turn.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many are being made.
    pub fn take() -> Result<Self, StoreError> {
        UNDER_WAY.try_acquire().map(Self).map_err(|_| StoreError::Busy)
    }
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database or the disk failed.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The storage for files failed.
    #[error("the storage for files: {0}")]
    Files(io::Error),
    /// It took longer than an export may.
    #[error("the export was not made in {0:?}")]
    TooLong(Duration),
}

/// Where an export is made, and how long that may take.
#[derive(Debug, Clone)]
pub struct Bounds {
    longest: Duration,
    folder: PathBuf,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { longest: LONGEST, folder: std::env::temp_dir() }
    }
}

/// Makes the ZIP; the file stands at its beginning.
///
/// # Errors
/// When the database, the disk or the storage for files fails, or when it takes too long.
pub async fn pack(
    store: Store,
    files: Arc<Files>,
    user: User,
    turn: Turn,
    bounds: Bounds,
) -> Result<File, ExportError> {
    let handle = Handle::current();
    let deadline = Instant::now() + bounds.longest;
    let packed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Packer { store, files, user, handle, bounds, deadline }.pack()
    });
    packed.await.unwrap_or_else(|_| Err(ChatError::from(StoreError::Closed).into()))
}

struct Packer {
    store: Store,
    files: Arc<Files>,
    user: User,
    handle: Handle,
    bounds: Bounds,
    deadline: Instant,
}

type Archive = ZipWriter<BufWriter<File>>;

fn failed(error: impl Into<std::io::Error>) -> ChatError {
    StoreError::File("cannot write an export".into(), error.into()).into()
}

impl Packer {
    fn pack(&self) -> Result<File, ExportError> {
        let file = tempfile::tempfile_in(&self.bounds.folder).map_err(failed)?;
        let mut zip = ZipWriter::new(BufWriter::new(file));
        begin(&mut zip, "profile.json")?;
        write(&mut zip, &self.read(export::profile)?)?;
        begin(&mut zip, "read_states.json")?;
        write(&mut zip, &self.read(export::read_states)?.into())?;
        begin(&mut zip, "mails.json")?;
        self.list(&mut zip, export::mails)?;
        begin(&mut zip, "audit_log.json")?;
        self.list(&mut zip, export::deeds)?;
        for thread in self.read(export::threads)? {
            self.thread(&mut zip, thread)?;
        }
        self.own_files(&mut zip)?;
        let mut file =
            zip.finish().map_err(failed)?.into_inner().map_err(|it| failed(it.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    /// The bytes of what the person uploaded, and a list of it.
    fn own_files(&self, zip: &mut Archive) -> Result<(), ExportError> {
        let mut list = Vec::new();
        for ids in self.read(export::files)?.chunks(export::FILES) {
            let ids = ids.to_vec();
            for attachment in self.read(move |reader, _| export::some_files(reader, &ids))? {
                let name = export::file_name(&attachment);
                let is_there = self.own_file(zip, &attachment, &name)?;
                list.push(export::file(&attachment, is_there.then_some(&name)));
            }
        }
        begin(zip, "files.json")?;
        Ok(write(zip, &list.into())?)
    }

    /// Tells whether the storage has it.
    fn own_file(
        &self,
        zip: &mut Archive,
        attachment: &Attachment,
        name: &str,
    ) -> Result<bool, ExportError> {
        let size = u64::try_from(attachment.size).unwrap_or(0);
        let mut bytes = match self.in_time(self.files.get(&attachment.file, 0, size))? {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            bytes => bytes.map_err(ExportError::Files)?,
        };
        // Pictures and documents are packed already.
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(name, options).map_err(failed)?;
        while let Some(chunk) = self.in_time(bytes.next())? {
            zip.write_all(&chunk.map_err(ExportError::Files)?).map_err(failed)?;
        }
        Ok(true)
    }

    /// Waits until the time of the export is over.
    fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, ExportError> {
        let too_long = || ExportError::TooLong(self.bounds.longest);
        if Instant::now() >= self.deadline {
            return Err(too_long());
        }
        let done = self.handle.block_on(async { timeout_at(self.deadline, work).await });
        done.map_err(|_| too_long())
    }

    fn thread(&self, zip: &mut Archive, id: Id) -> Result<(), ExportError> {
        let (thread, side) = self.read(move |reader, user| export::thread(reader, user, id))?;
        // The names are made of numbers alone.
        begin(zip, &format!("threads/{id}.json"))?;
        zip.write_all(b"{\"thread\": ").map_err(failed)?;
        write(zip, &thread)?;
        zip.write_all(b", \"messages\": ").map_err(failed)?;
        self.list(zip, move |reader, user, after| {
            export::messages(reader, user, id, side, after.unwrap_or(0))
        })?;
        Ok(zip.write_all(b"}").map_err(failed)?)
    }

    /// Writes a list whose pages are read one after the other.
    fn list<F>(&self, zip: &mut Archive, page: F) -> Result<(), ExportError>
    where
        F: Fn(&mut Reader<'_>, &User, Option<Id>) -> Result<Page, ChatError>
            + Copy
            + Send
            + 'static,
    {
        let mut separator: &[u8] = b"[\n";
        let mut cursor = None;
        loop {
            let (entries, next) = self.read(move |reader, user| page(reader, user, cursor))?;
            for entry in entries {
                zip.write_all(separator).map_err(failed)?;
                write(zip, &entry)?;
                separator = b",\n";
            }
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let end: &[u8] = if separator == b"[\n" { b"[]" } else { b"\n]" };
        Ok(zip.write_all(end).map_err(failed)?)
    }

    fn read<T, F>(&self, mut job: F) -> Result<T, ExportError>
    where
        T: Send + 'static,
        F: FnMut(&mut Reader<'_>, &User) -> Result<T, ChatError> + Send + 'static,
    {
        let user = self.user.clone();
        Ok(self.in_time(self.store.read(move |reader| job(reader, &user)))??)
    }
}

fn begin(zip: &mut Archive, name: &str) -> Result<(), ChatError> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    zip.start_file(name, options).map_err(failed)
}

fn write(zip: &mut Archive, value: &Value) -> Result<(), ChatError> {
    serde_json::to_writer(zip, value).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::future::{BoxFuture, FutureExt, ready};
    use futures_util::stream;

    use super::*;
    use crate::files::{ByteStream, Storage};
    use crate::store::testing::databases;
    use crate::testing::{file_of, shop};

    /// A bucket that gives the beginning of each file, and then nothing, or else the end.
    struct Slow {
        ends: bool,
    }

    impl Storage for Slow {
        fn put<'a>(&'a self, _: &'a str, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
            ready(Ok(())).boxed()
        }

        fn get<'a>(&'a self, _: &'a str, _: u64, _: u64) -> BoxFuture<'a, io::Result<ByteStream>> {
            let bytes = stream::iter([Ok(actix_web::web::Bytes::from_static(b"mug"))]);
            let rest = if self.ends { stream::empty().boxed() } else { stream::pending().boxed() };
            ready(Ok(bytes.chain(rest).boxed())).boxed()
        }

        fn remove<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<()>> {
            ready(Ok(())).boxed()
        }
    }

    /// What this process has open in a folder, with a name or without.
    fn open_in(folder: &Path) -> Vec<PathBuf> {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
        open.filter(|it| it.starts_with(folder)).collect()
    }

    #[tokio::test]
    async fn b6_an_export_that_takes_too_long_is_given_up_and_leaves_nothing() {
        for mut fresh in databases() {
            shop(&mut fresh, 0);
            fresh.write(|writer| writer.insert_attachment(file_of("c", "file"))).unwrap();
            let user = fresh.read(|reader| reader.user("c")).unwrap().unwrap();
            let store = Store::open(&fresh.url, 1, 100).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let pack = |ends: bool, longest: Duration| {
                let files = Arc::new(Files::of_storage(Box::new(Slow { ends })));
                let bounds = Bounds { longest, folder: folder.path().to_owned() };
                // Those who were given up before have given their turn back.
                let turn = Turn::take().unwrap();
                super::pack(store.clone(), files, user.clone(), turn, bounds)
            };
            // A storage that does not go on, and no time for as much as the database.
            let short = Duration::from_millis(200);
            for (ends, longest) in
                [(false, short), (false, short), (false, short), (true, Duration::ZERO)]
            {
                let error = pack(ends, longest).await.unwrap_err();
                assert!(matches!(error, ExportError::TooLong(it) if it == longest), "{error}");
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
                assert_eq!(open_in(folder.path()), Vec::<PathBuf>::new());
            }
            // With the time that there is by default it is made, and is no more than what is open.
            let file = pack(true, Bounds::default().longest).await.unwrap();
            assert_eq!(open_in(folder.path()).len(), 1);
            let zip = zip::ZipArchive::new(file).unwrap();
            assert!(zip.file_names().any(|name| name.unwrap().starts_with("files/")));
            drop(zip);
            assert_eq!(open_in(folder.path()), Vec::<PathBuf>::new());
        }
    }
}
