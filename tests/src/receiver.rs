//! A program of the shop's that takes webhooks: writes down what is posted to it, and answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::wait::{PATIENCE, eventually};

/// What was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The path.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

#[derive(Debug, Default)]
struct State {
    posted: Vec<Posted>,
    answers: VecDeque<u16>,
    always: u16,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where.
    pub url: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Posted {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }

    /// A header, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Receiver {
    /// Listens on a free port and answers 200.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State { always: 200, ..State::default() }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A client that breaks off is no failure of the test.
                tokio::spawn(async move { serve(socket, &state).await.ok() });
            }
        });
        Ok(Self { url, state, task })
    }

    /// Answers the next posts with these statuses, one each.
    pub fn answer_next(&self, statuses: &[u16]) {
        self.lock().answers.extend(statuses);
    }

    /// Answers all others with this one.
    pub fn answer_always(&self, status: u16) {
        self.lock().always = status;
    }

    /// What was posted so far.
    #[must_use]
    pub fn posted(&self) -> Vec<Posted> {
        self.lock().posted.clone()
    }

    /// Waits until so many posts have come.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Posted>> {
        let what = format!("{count} posts at {}", self.url);
        eventually(&what, PATIENCE, async || {
            let posted = self.posted();
            anyhow::ensure!(posted.len() >= count, "{} so far: {posted:?}", posted.len());
            Ok(Some(posted))
        })
        .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: TcpStream, state: &Mutex<State>) -> Result<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).context("no path")?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").context("no length")?.parse()?;
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        let status = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.posted.push(Posted { path, headers, body: String::from_utf8(body)? });
            state.answers.pop_front().unwrap_or(state.always)
        };
        let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(answer.as_bytes()).await?;
    }
}
