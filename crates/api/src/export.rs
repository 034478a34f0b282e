//! Packs what is kept of one person (`chat/export.rs`) into a ZIP: page by page into a file that has no name, so that neither
//! memory nor anybody else holds it, and that is gone with the answer.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Seek, Write};
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
/// How long the storage for files may hold one up in all, that others get their turn.
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
}

/// Makes the ZIP; the file stands at its beginning.
///
/// # Errors
/// When the database, the disk or the storage for files fails.
pub async fn pack(
    store: Store,
    files: Arc<Files>,
    user: User,
    turn: Turn,
) -> Result<File, ExportError> {
    let handle = Handle::current();
    let deadline = Instant::now() + LONGEST;
    let packed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Packer { store, files, user, handle, deadline }.pack()
    });
    packed.await.unwrap_or_else(|_| Err(ChatError::from(StoreError::Closed).into()))
}

struct Packer {
    store: Store,
    files: Arc<Files>,
    user: User,
    handle: Handle,
    deadline: Instant,
}

type Archive = ZipWriter<BufWriter<File>>;

fn failed(error: impl Into<std::io::Error>) -> ChatError {
    StoreError::File("cannot write an export".into(), error.into()).into()
}

impl Packer {
    fn pack(&self) -> Result<File, ExportError> {
        let file = tempfile::tempfile().map_err(failed)?;
        let mut zip = ZipWriter::new(BufWriter::new(file));
        begin(&mut zip, "profile.json")?;
        write(&mut zip, &export::profile(&self.user))?;
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

    /// Waits for the storage, until the time of the export is over.
    fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, ExportError> {
        let done = self.handle.block_on(async { timeout_at(self.deadline, work).await });
        done.map_err(|_| ExportError::Files(ErrorKind::TimedOut.into()))
    }

    fn thread(&self, zip: &mut Archive, id: Id) -> Result<(), ChatError> {
        let (thread, side) = self.read(move |reader, user| export::thread(reader, user, id))?;
        // The names are made of numbers alone.
        begin(zip, &format!("threads/{id}.json"))?;
        zip.write_all(b"{\"thread\": ").map_err(failed)?;
        write(zip, &thread)?;
        zip.write_all(b", \"messages\": ").map_err(failed)?;
        self.list(zip, move |reader, user, after| {
            export::messages(reader, user, id, side, after.unwrap_or(0))
        })?;
        zip.write_all(b"}").map_err(failed)
    }

    /// Writes a list whose pages are read one after the other.
    fn list<F>(&self, zip: &mut Archive, page: F) -> Result<(), ChatError>
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
        zip.write_all(end).map_err(failed)
    }

    fn read<T, F>(&self, mut job: F) -> Result<T, ChatError>
    where
        T: Send + 'static,
        F: FnMut(&mut Reader<'_>, &User) -> Result<T, ChatError> + Send + 'static,
    {
        let user = self.user.clone();
        self.handle.block_on(self.store.read(move |reader| job(reader, &user)))
    }
}

fn begin(zip: &mut Archive, name: &str) -> Result<(), ChatError> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    zip.start_file(name, options).map_err(failed)
}

fn write(zip: &mut Archive, value: &Value) -> Result<(), ChatError> {
    serde_json::to_writer(zip, value).map_err(failed)
}
