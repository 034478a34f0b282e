//! Has the API keep when people were last seen, so that it is known when this process has ended: in batches, since people come
//! and go all the time. Where the API does not answer, it is told later; presence itself never waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::api::Api;
use crate::presence::Presence;

/// How often the API is told.
const INTERVAL: Duration = Duration::from_secs(2);

/// How many people it is told of at once.
const BATCH: usize = 500;

/// Tells the API now and then until `stop`.
pub async fn keep(presence: Arc<Presence>, api: Api, stop: CancellationToken) {
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => tell(&presence, &api).await,
        }
    }
}

/// Tells the API of all whom it has not heard of.
pub async fn tell(presence: &Presence, api: &Api) {
    loop {
        let gone = presence.take_untold(BATCH);
        if gone.is_empty() {
            return;
        }
        if let Err(error) = api.keep_last_seen(&gone).await {
            // The log says already when the API cannot be asked.
            debug!(%error, "cannot have it kept when people were last seen");
            presence.put_back(gone);
            return;
        }
    }
}
