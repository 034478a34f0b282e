//! Asks the push daemon's side door who is connected.

use std::time::Duration;

use chaffer_shared::health::{Presence, UserPresence};
use chaffer_shared::link::LinkKeys;

/// How long the side door may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The way to the push daemon's side door; cheap to clone.
#[derive(Debug, Clone)]
pub struct SideDoor {
    client: reqwest::Client,
    url: String,
    keys: LinkKeys,
}

impl SideDoor {
    /// The side door at a URL.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: String, keys: LinkKeys) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { client, url, keys })
    }

    /// Whether these users are connected.
    ///
    /// # Errors
    /// When the push daemon does not answer as it should.
    pub async fn presence(&self, users: &[String]) -> Result<Vec<UserPresence>, reqwest::Error> {
        let mut request = self
            .client
            .get(format!("{}/presence", self.url))
            // One parameter each: an id may hold a comma.
            .query(&users.iter().map(|id| ("user_id", id)).collect::<Vec<_>>());
        if let Some(bearer) = self.keys.internal_bearer() {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await?.error_for_status()?;
        Ok(answer.json::<Presence>().await?.users)
    }
}
