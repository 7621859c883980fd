//! Folders whose names are safe.

use crate::Fs;
use std::io;
use std::path::Path;

/// Makes the folder and those above it that are missing, and every name on the way to it safe: an opening that was cut off may
/// have made folders and have come no further. Waits for the disk.
///
/// # Errors
///
/// Of the kind that the disk says, with what was being done to which folder.
pub fn make_dir(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let lacks = |folder: &&Path| **folder != *Path::new("") && fs.list(folder).is_err();
    let made = dir.ancestors().take_while(lacks).count();
    fs.create_dir(dir).map_err(|e| told("creating", dir, &e))?;
    for (n, parent) in dir.ancestors().skip(1).enumerate() {
        let parent = if parent == Path::new("") { Path::new(".") } else { parent };
        match fs.sync_dir(parent) {
            // Far above there may be folders that this process may pass through and not read.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && n > 0 && n >= made => {}
            outcome => outcome.map_err(|e| told("syncing", parent, &e))?,
        }
    }
    Ok(())
}

fn told(doing: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaultFs, FaultPlan, OpenMode, PowerLoss, SyncTicket};

    #[test]
    fn a_file_that_was_synced_is_there_after_a_power_loss() {
        let (fs, dir) = (FaultFs::new(FaultPlan::default()), Path::new("/a/b/c"));
        make_dir(&fs, dir).unwrap();
        let file = fs.open(&dir.join("file"), OpenMode::CreateNew).unwrap();
        SyncTicket::start(|done| file.sync(done)).take().unwrap().unwrap();
        fs.sync_dir(dir).unwrap();
        let after = fs.after_power_loss(PowerLoss::LosesAll);
        assert_eq!(after.list(dir).unwrap(), ["file"]);
    }
}
