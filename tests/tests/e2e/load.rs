//! People who go on writing while something happens to the daemons, and a count of what they were answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use chaffer_tests::{Listener, Person, until};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The pause before a message that was not taken is sent again, under the same `client_id`.
const PAUSE: Duration = Duration::from_millis(50);

/// Several browsers that post without a pause until they are told to stop.
pub(crate) struct Load {
    posters: Vec<JoinHandle<Posted>>,
    taken: Arc<AtomicUsize>,
    go_on: watch::Sender<bool>,
}

/// What became of it.
#[derive(Default)]
pub(crate) struct Posted {
    /// The texts, each of which was answered with success in the end.
    pub(crate) texts: Vec<String>,
    /// Every answer that was none, or not 201.
    pub(crate) refusals: Vec<String>,
    /// The longest wait for an answer.
    pub(crate) slowest: Duration,
}

impl Load {
    pub(crate) fn start(person: &Person, thread: i64, posters: usize) -> Self {
        let (go_on, wanted) = watch::channel(true);
        let taken = Arc::<AtomicUsize>::default();
        let posters = (0..posters)
            .map(|number| {
                let (person, taken) = (person.clone(), Arc::clone(&taken));
                tokio::spawn(post(person, thread, number, taken, wanted.clone()))
            })
            .collect();
        Self { posters, taken, go_on }
    }

    /// Waits until so many more messages have been taken.
    pub(crate) async fn takes(&self, more: usize) -> Result<()> {
        let goal = self.taken.load(Ordering::Relaxed) + more;
        until("messages are taken", async || Ok(self.taken.load(Ordering::Relaxed) >= goal)).await
    }

    /// Ends it, once every message is taken.
    pub(crate) async fn stop(self) -> Result<Posted> {
        self.go_on.send_replace(false);
        let mut all = Posted::default();
        for poster in self.posters {
            let posted = poster.await?;
            all.texts.extend(posted.texts);
            all.refusals.extend(posted.refusals);
            all.slowest = all.slowest.max(posted.slowest);
        }
        Ok(all)
    }
}

async fn post(
    person: Person,
    thread: i64,
    number: usize,
    taken: Arc<AtomicUsize>,
    wanted: watch::Receiver<bool>,
) -> Posted {
    let path = format!("/v1/threads/{thread}/messages");
    let mut posted = Posted::default();
    while *wanted.borrow() {
        let text = format!("{number}-{}", posted.texts.len());
        let message = json!({"text": text, "client_id": format!("load-{text}")});
        loop {
            let start = std::time::Instant::now();
            let answer = person.post(&path, message.clone()).await;
            posted.slowest = posted.slowest.max(start.elapsed());
            match answer {
                Ok(answer) if answer.status == 201 => break,
                Ok(answer) => posted.refusals.push(answer.to_string()),
                Err(error) => posted.refusals.push(format!("{error:#}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
        taken.fetch_add(1, Ordering::Relaxed);
        posted.texts.push(text);
    }
    posted
}

impl Posted {
    /// Waits until a listener has heard all of it, and checks that it heard each once.
    pub(crate) async fn reached(&self, listener: &Listener) -> Result<()> {
        let mut expected = self.texts.clone();
        expected.sort();
        let heard = || -> Vec<String> {
            let texts = listener.all("message.created");
            let text = |data: &serde_json::Value| data["text"].as_str().map(str::to_owned);
            let mut texts: Vec<String> = texts.iter().filter_map(text).collect();
            texts.retain(|text| text.contains('-'));
            texts.sort();
            texts
        };
        until("everything is heard", async || Ok(heard().len() >= expected.len())).await?;
        ensure!(heard() == expected, "{} heard other messages than these", listener.person.id);
        listener.check()
    }
}
