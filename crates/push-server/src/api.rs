//! The API's internal calls, which only the push daemon makes: missed events, revocations, and when people were last seen.
//! They go to its loopback listener, with a bearer that is derived from the key that both daemons share.

use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::event::{EventId, Missed, Revocations};
use chaffer_shared::health::{Presence, UserPresence};
use chaffer_shared::link::LinkKeys;
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::hub::{Command, Hub};

/// The most events of one answer.
const PAGE: i64 = 1000;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The pause before asking again grows from the first to the longest.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why the API could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No connection, no answer in time, or an answer that cannot be read.
    #[error("{}", chain(.0))]
    Http(#[from] reqwest::Error),
    /// Refused because the keys differ.
    #[error("the API refuses the bearer: both daemons need the same keys.link")]
    Unauthorized,
    /// Some other status.
    #[error("the API answers with status {0}")]
    Status(u16),
}

/// reqwest's errors keep the reason in their sources.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// The API's internal calls.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    /// The first one is tried first.
    bearers: Arc<[String]>,
}

impl Api {
    /// The API at that URL; `None` without a link key, when there is nothing to ask.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(url: String, keys: &LinkKeys) -> Result<Option<Self>, ApiError> {
        let bearers: Arc<[String]> = keys.internal_bearers().collect();
        if bearers.is_empty() {
            return Ok(None);
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            .build()?;
        Ok(Some(Self { client, url, bearers }))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, i64)],
    ) -> Result<T, ApiError> {
        let ask = || self.client.get(format!("{}{path}", self.url)).query(query);
        Ok(self.send(ask).await?.json().await?)
    }

    /// Makes a call with each bearer, until one is good.
    async fn send(&self, call: impl Fn() -> RequestBuilder) -> Result<Response, ApiError> {
        for bearer in self.bearers.iter() {
            let answer = call().bearer_auth(bearer).send().await?;
            match answer.status().as_u16() {
                200 | 204 => return Ok(answer),
                // During a rotation the API may know the older key alone.
                401 | 403 => {}
                status => return Err(ApiError::Status(status)),
            }
        }
        Err(ApiError::Unauthorized)
    }

    /// The events after that one, or, without one, none, only where the stream stands.
    ///
    /// # Errors
    /// [`ApiError`]: try again later.
    pub async fn events(&self, after: Option<EventId>) -> Result<Missed, ApiError> {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.map(|after| ("after", after)));
        self.get("/internal/v1/events", &query).await
    }

    /// Has it kept when these people were last seen.
    ///
    /// # Errors
    /// [`ApiError`]: try again later.
    pub async fn keep_last_seen(&self, users: &[UserPresence]) -> Result<(), ApiError> {
        let body = Presence { users: users.to_vec() };
        let tell = || self.client.put(format!("{}/internal/v1/last-seen", self.url)).json(&body);
        self.send(tell).await.map(drop)
    }

    /// Asks which tokens no longer count, until the API answers, and tells the hub.
    pub async fn load_revocations(self, hub: Arc<Hub>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.get::<Revocations>("/internal/v1/revocations", &[]).await {
                Ok(answer) => {
                    info!(revocations = answer.revocations.len(), "revocations loaded");
                    for revoked in answer.revocations {
                        hub.tell_all(|| Command::Revoke(revoked.clone())).await;
                    }
                    return;
                }
                // The events' failures are in the log already.
                Err(error) => debug!(%error, "cannot load revocations"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
