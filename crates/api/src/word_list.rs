//! This node's compiled list of forbidden words. Every commit sees the list's version anyway; a rule that finds another one than
//! it was given is taken back, the list is read and compiled here, off the thread that writes, and the rule is run again.

use std::sync::{Arc, PoisonError, RwLock};

use crate::chat::ChatError;
use crate::chat::screening::WordList;
use crate::store::{Id, Reader, Store, StoreError, Writer};

/// How often the list may change under one call.
const ATTEMPTS: usize = 5;

/// The list that counted last, and who is fetching the next one.
#[derive(Debug)]
pub struct WordListCache {
    current: RwLock<Arc<WordList>>,
    fetching: tokio::sync::Mutex<()>,
}

impl Default for WordListCache {
    fn default() -> Self {
        Self {
            current: RwLock::new(Arc::new(WordList::empty())),
            fetching: tokio::sync::Mutex::new(()),
        }
    }
}

impl WordListCache {
    fn current(&self) -> Arc<WordList> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a rule that writes what goes through the list.
    ///
    /// # Errors
    /// The rule's own.
    pub async fn write<T, F>(&self, store: &Store, rule: F) -> Result<T, ChatError>
    where
        T: Send + 'static,
        F: FnMut(&mut Writer<'_>, &WordList) -> Result<T, ChatError> + Clone + Send + 'static,
    {
        self.write_into(store, None, rule).await
    }

    /// The same; of a post with the thread that it goes into, see [`Store::write_into`].
    ///
    /// # Errors
    /// The rule's own.
    pub async fn write_into<T, F>(
        &self,
        store: &Store,
        thread: Option<Id>,
        rule: F,
    ) -> Result<T, ChatError>
    where
        T: Send + 'static,
        F: FnMut(&mut Writer<'_>, &WordList) -> Result<T, ChatError> + Clone + Send + 'static,
    {
        for _ in 0..ATTEMPTS {
            let list = self.current();
            let (version, mut rule) = (list.version(), rule.clone());
            match store.write_into(thread, move |writer| rule(writer, &list)).await {
                Err(ChatError::StaleWordList) => self.fetch(store, version).await?,
                done => return done,
            }
        }
        Err(StoreError::Busy.into())
    }

    /// Runs a rule that reads and asks the list.
    ///
    /// # Errors
    /// The rule's own.
    pub async fn read<T, F>(&self, store: &Store, rule: F) -> Result<T, ChatError>
    where
        T: Send + 'static,
        F: FnMut(&mut Reader<'_>, &WordList) -> Result<T, ChatError> + Clone + Send + 'static,
    {
        for _ in 0..ATTEMPTS {
            let list = self.current();
            let (version, mut rule) = (list.version(), rule.clone());
            match store.read(move |reader| rule(reader, &list)).await {
                Err(ChatError::StaleWordList) => self.fetch(store, version).await?,
                done => return done,
            }
        }
        Err(StoreError::Busy.into())
    }

    /// Fetches the list, unless somebody else has done so while this call waited.
    async fn fetch(&self, store: &Store, stale: i64) -> Result<(), ChatError> {
        let _alone = self.fetching.lock().await;
        if self.current().version() != stale {
            return Ok(());
        }
        let (version, words) = store
            .read(|reader| {
                // One snapshot: the version belongs to these words.
                let version = reader.forbidden_words_version()?;
                Ok::<_, StoreError>((version, reader.all_forbidden_words()?))
            })
            .await?;
        let compiled =
            tokio::task::spawn_blocking(move || WordList::compile(version, &words)).await;
        let list = match compiled {
            Ok(Ok(list)) => list,
            Ok(Err(error)) => {
                tracing::error!(%error, "messages cannot be accepted");
                return Err(StoreError::Busy.into());
            }
            Err(error) => {
                tracing::error!(%error, "compiling the list of forbidden words failed");
                return Err(StoreError::Busy.into());
            }
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
        tracing::debug!(version, "compiled the list of forbidden words");
        Ok(())
    }
}
