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
use http_body_util::{BodyExt, BodyStream, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, RANGE};
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use url::Url;

use super::{ByteStream, Storage, blocking, stream};

/// How long a signed address is good for: it is used at once.
const SIGNED: Duration = Duration::from_secs(300);
/// How long the storage may take to begin its answer.
const TIMEOUT: Duration = Duration::from_secs(60);

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
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            bucket,
            credentials: Credentials::new(&config.s3_access_key, &config.s3_secret_key),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    async fn send(&self, request: Request<Body>) -> io::Result<Response<Incoming>> {
        let sent = tokio::time::timeout(TIMEOUT, self.client.request(request)).await;
        let answer = sent.map_err(|_| io::ErrorKind::TimedOut)?.map_err(io::Error::other)?;
        match answer.status().as_u16() {
            200..=299 => Ok(answer),
            404 => Err(io::ErrorKind::NotFound.into()),
            status => Err(io::Error::other(format!("the storage answered {status}"))),
        }
    }
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
