//! The folder for attached files, and the bucket, if they are kept in one.

use std::path::Path;

use chaffer_shared::config::Config;
use tokio::time::timeout;

use super::{PATIENCE, Report};

pub(super) async fn check(config: &Config, report: &mut Report) {
    check_folder(config, report);
    if !config.files.s3_bucket.is_empty() {
        check_bucket(config, report).await;
    }
}

fn check_folder(config: &Config, report: &mut Report) {
    let folder = Path::new(&config.files.folder);
    // The API makes what is missing; a file that is gone again at once shows whether anything can be written.
    let place = if folder.is_dir() { folder } else { folder.parent().unwrap_or(folder) };
    match tempfile::tempfile_in(place) {
        Ok(_) => report.ok("files", format!("{} can be written to", folder.display())),
        Err(error) if place == folder || place.is_dir() => {
            let mend = "make files.folder writable for the daemons' user";
            report.fail("files", format!("{}: {error}", place.display()), mend);
        }
        // The API makes the folders above it, too; whether it can shows when it starts.
        Err(_) => report.warn(
            "files",
            format!("{} is not there", folder.display()),
            "start chaffer-api, which makes it, or correct files.folder",
        ),
    }
}

/// A small file that is kept, read back and removed tells more than any question.
async fn check_bucket(config: &Config, report: &mut Report) {
    let files = &config.files;
    let named = format!("{} at {}", files.s3_bucket, files.s3_endpoint);
    let detail = match timeout(PATIENCE, crate::files::try_bucket(files)).await {
        Ok(Ok(())) => {
            return report.ok("bucket", format!("{named} takes, gives and removes files"));
        }
        Ok(Err(error)) => format!("{named}: {error:#}"),
        Err(_) => format!("{named}: no answer within {} s", PATIENCE.as_secs()),
    };
    report.fail("bucket", &detail, mend(&detail));
}

/// What to do, by the codes of the storage's answers (Amazon S3 API Reference, "Error responses").
fn mend(detail: &str) -> &'static str {
    let says = |codes: &[&str]| codes.iter().any(|code| detail.contains(code));
    if says(&["NoSuchBucket"]) {
        "make the bucket, or correct files.s3_bucket"
    } else if says(&["InvalidAccessKeyId"]) {
        "correct files.s3_access_key"
    } else if says(&["SignatureDoesNotMatch"]) {
        "correct files.s3_secret_key"
    } else if says(&["AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"]) {
        "correct files.s3_region"
    } else if says(&["AccessDenied"]) {
        "let this access key put, get and delete objects in the bucket"
    } else if says(&["RequestTimeTooSkewed", "RequestExpired"]) {
        "set this machine's clock (NTP)"
    } else if says(&["is not set"]) {
        "set it, or empty files.s3_bucket"
    } else {
        "correct files.s3_endpoint, or start the storage"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storages_answer_says_which_setting_is_wrong() {
        // As Amazon answers; the storage of the end-to-end tests takes any region.
        let answer = "shop at https://s3.amazonaws.com: the storage answered 400 AuthorizationQueryParametersError: \
            Error parsing the X-Amz-Credential parameter; the region 'us-east-1' is wrong; expecting 'eu-central-1'";
        assert_eq!(mend(answer), "correct files.s3_region");
        assert!(mend("the storage answered 403 AccessDenied: Access Denied").contains("put, get"));
        assert!(mend("the storage answered 403 RequestTimeTooSkewed: ").contains("clock"));
    }
}
