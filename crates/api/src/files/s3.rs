//! Files in a bucket of a storage that speaks S3: Amazon's, or one of one's own. `rusty-s3` signs the addresses, and what is sent to
//! them is plain HTTP. The operator names the endpoint, so it may be on the same machine.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use actix_web::web::Bytes;
use anyhow::{Result, ensure};
use chaffer_shared::config;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use url::Url;

use super::{ByteStream, Storage, blocking, stream};
use crate::doctor::reasons;

/// How long a signed address is good for: it is used at once.
const SIGNED: Duration = Duration::from_secs(300);
/// How long the storage may take to begin its answer to a request without a body, and to go on with its answer.
const SILENCE: Duration = Duration::from_secs(60);
/// How fast a file is sent at the least, in bytes a second: the storage answers when it has got all of it.
const SLOWEST: u64 = 100_000;
/// How long it may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer that says what went wrong, in bytes.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// The one thing that is not there and that we can do without.
const NO_SUCH_KEY: &str = "NoSuchKey";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A bucket.
pub(super) struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    silence: Duration,
}

impl S3 {
    /// The bucket that the settings name.
    ///
    /// # Errors
    /// When they cannot be meant.
    pub(super) fn new(config: &config::Files) -> Result<Self> {
        ensure!(!config.s3_access_key.is_empty(), "files.s3_access_key is not set");
        ensure!(!config.s3_secret_key.is_empty(), "files.s3_secret_key is not set");
        // By path: names of buckets need no names in the DNS then, and every storage knows it.
        let bucket = Bucket::new(
            Url::parse(&config.s3_endpoint)?,
            UrlStyle::Path,
            config.s3_bucket.clone(),
            config.s3_region.clone(),
        )?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            bucket,
            credentials: Credentials::new(&config.s3_access_key, &config.s3_secret_key),
            client: Client::builder(TokioExecutor::new()).build(connector),
            silence: SILENCE,
        })
    }

    async fn send(
        &self,
        request: Request<Body>,
        patience: Duration,
    ) -> io::Result<Response<Incoming>> {
        let sent = tokio::time::timeout(patience, self.client.request(request)).await;
        let answer = sent.map_err(|_| io::ErrorKind::TimedOut)?;
        let answer = answer.map_err(|error| io::Error::other(reasons(&error)))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer, self.silence).await)
    }
}

/// How long a file of so many bytes may take to be kept.
fn time_to_keep(size: u64) -> Duration {
    SILENCE + Duration::from_secs(size / SLOWEST)
}

/// What the storage says is wrong. A bucket that is not there is another thing than a file that is gone.
async fn refusal(answer: Response<Incoming>, patience: Duration) -> io::Error {
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ERROR_BYTES).collect();
    let text = match tokio::time::timeout(patience, body).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        _ => String::new(),
    };
    let part = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once('<').map(|(value, _)| value)
    };
    let code = part("Code").unwrap_or_default();
    if status == 404 && code == NO_SUCH_KEY {
        return io::ErrorKind::NotFound.into();
    }
    let message = part("Message").unwrap_or_default();
    io::Error::other(format!("the storage answered {status} {code}: {message}"))
}

fn request(method: Method, url: &Url) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(url.as_str())
}

fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

impl Storage for S3 {
    fn put<'a>(&'a self, key: &'a str, file: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let path = file.to_owned();
            let (file, size) = blocking(move || {
                let file = File::open(path)?;
                let size = file.metadata()?.len();
                Ok((file, size))
            })
            .await?;
            let url = self.bucket.put_object(Some(&self.credentials), key).sign(SIGNED);
            let body = StreamBody::new(stream(file, size).map(|chunk| chunk.map(Frame::data)));
            let request = request(Method::PUT, &url)
                .header(CONTENT_LENGTH, size)
                .body(BodyExt::boxed_unsync(body))
                .map_err(io::Error::other)?;
            self.send(request, time_to_keep(size)).await.map(drop)
        })
    }

    fn get<'a>(
        &'a self,
        key: &'a str,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, io::Result<ByteStream>> {
        Box::pin(async move {
            let url = self.bucket.get_object(Some(&self.credentials), key).sign(SIGNED);
            let last = (from + length).saturating_sub(1);
            let request = request(Method::GET, &url)
                .header(RANGE, format!("bytes={from}-{last}"))
                .body(nothing())
                .map_err(io::Error::other)?;
            let answer = self.send(request, self.silence).await?;
            if from > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
                return Err(io::Error::other("the storage gives no parts of files"));
            }
            let silence = self.silence;
            let frames = Some(BodyStream::new(answer.into_body()));
            // A flow that is cut off without a word would be waited for without end.
            let frames = unfold(frames, move |frames| async move {
                let mut frames = frames?;
                match tokio::time::timeout(silence, frames.next()).await {
                    Ok(next) => next.map(|it| (it.map_err(io::Error::other), Some(frames))),
                    Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
                }
            });
            let chunks = frames.filter_map(|frame| async move {
                match frame {
                    Ok(frame) => frame.into_data().ok().map(Ok),
                    Err(error) => Some(Err(error)),
                }
            });
            Ok(chunks.boxed())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let url = self.bucket.delete_object(Some(&self.credentials), key).sign(SIGNED);
            let request =
                request(Method::DELETE, &url).body(nothing()).map_err(io::Error::other)?;
            match self.send(request, self.silence).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A storage that gives one answer, and then neither says anything more nor hangs up.
    async fn storage(answer: &'static [u8]) -> S3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = config::Files {
            s3_endpoint: format!("http://{}", listener.local_addr().unwrap()),
            s3_region: "here".into(),
            s3_bucket: "files".into(),
            s3_access_key: "me".into(),
            s3_secret_key: "secret".into(),
            ..config::Files::default()
        };
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let asked = connection.read(&mut [0; 4096]).await.unwrap();
            assert!(asked > 0);
            connection.write_all(answer).await.unwrap();
            std::future::pending::<()>().await;
        });
        S3 { silence: Duration::from_secs(1), ..S3::new(&config).unwrap() }
    }

    #[tokio::test]
    async fn a_storage_that_falls_silent_is_not_waited_for_without_end() {
        let half = b"HTTP/1.1 206 Partial Content\r\ncontent-length: 10\r\n\r\nabc";
        let mut chunks = storage(half).await.get("key", 0, 10).await.unwrap();
        assert_eq!(chunks.next().await.unwrap().unwrap(), "abc");
        let silent = chunks.next().await.unwrap().unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        assert!(chunks.next().await.is_none());

        let silent = storage(b"").await.get("key", 0, 10).await.err().unwrap();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn the_largest_file_may_take_its_time() {
        // 100 MB, the most that the setting allows, at 1 MB/s and a minute for the answer.
        assert!(time_to_keep(100 << 20) > Duration::from_secs(105) + SILENCE);
        assert_eq!(time_to_keep(10), SILENCE);
    }
}
