//! Full-text search: what counts as a word ([`words`]), what is looked for ([`query`]), what the index holds of a message
//! ([`index`]), how a find is shown ([`highlight`]), and the task that keeps the index up to date ([`indexer`]). The rule
//! that searches is `chat/search.rs`. The index only says which messages are worth a look: each is read and compared with the
//! query before it is shown, so both databases find the same (decision 19).

pub(crate) mod highlight;
pub(crate) mod index;
pub(crate) mod indexer;
pub(crate) mod query;
#[cfg(test)]
mod tests;
mod words;
