//! Room on the disk of the database.

use std::path::Path;

use chaffer_shared::config::Config;

use super::{Report, Status};
use crate::store::DatabaseUrl;

/// Below these bytes somebody should look; below the second nothing can be written soon.
const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 100 << 20;

pub(super) fn check(config: &Config, report: &mut Report) {
    // Of a server's disk its own monitoring knows.
    let Ok(DatabaseUrl::Sqlite(file)) = DatabaseUrl::parse(&config.database.url) else { return };
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let (status, mend) = judge(free, disk.f_favail, disk.f_files);
            let detail = format!("{} MiB free at {}", free >> 20, folder.display());
            report.add("disk", status, detail, mend);
        }
        Err(error) => {
            report.fail("disk", format!("{}: {error}", folder.display()), "correct database.url");
        }
    }
}

fn judge(free: u64, free_files: u64, files: u64) -> (Status, Option<String>) {
    let mend = "make room, or move the database to a larger disk";
    if free < TOO_LITTLE {
        (Status::Failed, Some(mend.to_owned()))
    } else if files > 0 && free_files == 0 {
        (Status::Failed, Some("the disk has no inodes left: remove files".to_owned()))
    } else if free < LITTLE {
        (Status::Warning, Some(mend.to_owned()))
    } else {
        (Status::Ok, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_failure_and_a_nearly_full_one_a_warning() {
        assert_eq!(judge(TOO_LITTLE - 1, 9, 9).0, Status::Failed);
        assert_eq!(judge(LITTLE - 1, 9, 9).0, Status::Warning);
        assert_eq!(judge(LITTLE, 0, 9).0, Status::Failed);
        // Some file systems count no files.
        assert_eq!(judge(LITTLE, 0, 0).0, Status::Ok);
    }
}
