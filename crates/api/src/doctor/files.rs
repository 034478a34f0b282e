//! The folder for attached files.

use std::path::Path;

use chaffer_shared::config::Config;

use super::Report;

pub(super) fn check(config: &Config, report: &mut Report) {
    let folder = Path::new(&config.files.folder);
    // The API makes what is missing; a file that is gone again at once shows whether anything can be written.
    let place = if folder.is_dir() { folder } else { folder.parent().unwrap_or(folder) };
    let bucket = match config.files.s3_bucket.as_str() {
        "" => String::new(),
        bucket => format!("; kept in the bucket {bucket}"),
    };
    match tempfile::tempfile_in(place) {
        Ok(_) => report.ok("files", format!("{} can be written to{bucket}", folder.display())),
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
