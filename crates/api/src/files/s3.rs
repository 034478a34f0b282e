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
/// How long the storage may take to begin its answer, and to take a connection.
const TIMEOUT: Duration = Duration::from_secs(60);
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
        })
    }

    async fn send(&self, request: Request<Body>) -> io::Result<Response<Incoming>> {
        let sent = tokio::time::timeout(TIMEOUT, self.client.request(request)).await;
        let answer = sent.map_err(|_| io::ErrorKind::TimedOut)?;
        let answer = answer.map_err(|error| io::Error::other(reasons(&error)))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }
}

/// What the storage says is wrong. A bucket that is not there is another thing than a file that is gone.
async fn refusal(answer: Response<Incoming>) -> io::Error {
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ERROR_BYTES).collect();
    let text = match tokio::time::timeout(TIMEOUT, body).await {
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
            self.send(request).await.map(drop)
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
            let answer = self.send(request).await?;
            if from > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
                return Err(io::Error::other("the storage gives no parts of files"));
            }
            let frames = BodyStream::new(answer.into_body());
            let chunks = frames.filter_map(|frame| async move {
                match frame {
                    Ok(frame) => frame.into_data().ok().map(Ok),
                    Err(error) => Some(Err(io::Error::other(error))),
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
            match self.send(request).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            }
        })
    }
}
