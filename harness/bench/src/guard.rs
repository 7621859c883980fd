//! Who may use an experiment's directory, and how long a run's process may live.
//!
//! * **One bench to a directory.** A bench holds a lock on the file [`LOCK`] in it; a second one is refused. The
//!   kernel lets go of the lock when the process is gone, however it ended.
//! * **No bench without a place for its results.** That files can be made there is tried first.
//! * **No results among what is somebody else's.** A folder with anything in it is used only if a file says that it is ours.
//! * **No worker without its bench.** A worker's standard input is a pipe that its bench holds open and never
//!   writes to. When the bench is gone the pipe ends, and a thread of the worker ends the process at once,
//!   whatever else it is doing.
//! * **No new bench beside an old worker.** A worker holds a lock on its plan for as long as it lives. A bench that
//!   finds plans of an earlier one waits for those locks before it clears anything away.

use crate::names::usage;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file in an experiment's directory that its bench holds locked. It is there only while the bench runs, or
/// after it was killed, when it means nothing.
pub(crate) const LOCK: &str = ".norikv-bench.lock";

/// A file that is made and removed to see whether that is possible.
const PROBE: &str = ".norikv-bench.probe";

/// A worker whose bench is gone ends within milliseconds; this is for a machine that is very busy.
const WORKER_WAIT_MAX: Duration = Duration::from_secs(10);
const WORKER_LOOK_EVERY: Duration = Duration::from_millis(10);

/// How a worker ends whose bench is gone. Nobody is left who could read it.
const ORPHANED: i32 = 1;

/// The right to write into an experiment's directory.
pub(crate) struct DirLock {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

impl DirLock {
    /// Makes the directory, which the user named by `option`, and locks it.
    ///
    /// # Errors
    ///
    /// A usage error that names the directory, if it cannot be written to or another bench holds it.
    pub(crate) fn take(dir: &Path, option: &str) -> Result<Self> {
        let unusable = |error: std::io::Error| {
            usage(format!("{option} {} cannot be used: {error}", dir.display()))
        };
        std::fs::create_dir_all(dir).map_err(unusable)?;
        // The lock of a bench that was killed may be there, and be opened where no other file can be made.
        check_writable(dir)?;
        let path = dir.join(LOCK);
        loop {
            let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = open.map_err(unusable)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(usage(format!(
                        "another bench is writing to {}; wait for it or choose another {option}",
                        dir.display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
            // Its last owner may have removed the file after we opened it: then others lock another file.
            let ours = file.metadata().map_err(unusable)?;
            match std::fs::metadata(&path) {
                Ok(now) if (now.dev(), now.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Self { path, _file: file });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(unusable(error)),
            }
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Still locked: whoever opens the old file looks again and finds that it is not the one of this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Checks that files can be made in a directory of results before anything is made for it.
///
/// # Errors
///
/// A usage error that names the directory.
pub(crate) fn check_writable(dir: &Path) -> Result<()> {
    let path = dir.join(PROBE);
    let made = File::create(&path).and_then(|_| std::fs::remove_file(&path));
    made.map_err(|error| usage(format!("{} cannot be written to: {error}", dir.display())))
}

/// Checks that a directory of results, the `--out` of a command, is one that an earlier command left, which the file called `mark`
/// says, or is empty. Hidden files and a mark that was not yet in its place are nothing.
///
/// # Errors
///
/// A usage error that names the directory and something in it.
pub(crate) fn check_own(dir: &Path, mark: &str, whose: &str) -> Result<()> {
    if dir.join(mark).exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let others = names.filter(|name| !name.starts_with('.') && !name.starts_with(mark));
    match others.min() {
        None => Ok(()),
        Some(name) => Err(usage(format!(
            "{} holds a `{name}` that is not {whose}'s; choose another --out",
            dir.display()
        ))),
    }
}

/// Holds the plan at `path` locked for as long as the file is kept.
pub(crate) fn hold_plan(path: &Path) -> Result<File> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    file.lock_shared().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// Waits until no process carries out the plan at `path`.
pub(crate) fn await_plan_end(path: &Path) -> Result<()> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < WORKER_WAIT_MAX => {
                std::thread::sleep(WORKER_LOOK_EVERY);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(usage(format!(
                    "a process of an earlier bench still carries out {}",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
    }
}

/// Ends this process when its standard input ends, which is when the bench that started it is gone.
pub(crate) fn end_with_parent() -> Result<()> {
    let watch = || {
        let mut stdin = std::io::stdin().lock();
        let mut byte = [0];
        loop {
            match stdin.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // At once and without cleaning up: threads of the engine are at work, and the directory is the next bench's.
        signal_hook::low_level::exit(ORPHANED);
    };
    let thread = std::thread::Builder::new().name("parent-watch".into());
    thread.spawn(watch).context("starting the thread that watches the parent")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_left_without_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        let lock = DirLock::take(&out, "--out").unwrap();
        let error = DirLock::take(&out, "--out").err().unwrap();
        assert!(error.is::<crate::Usage>());
        assert!(error.to_string().starts_with("another bench is writing to "), "{error}");
        drop(lock);
        assert!(!out.join(LOCK).exists());
        DirLock::take(&out, "--out").unwrap();
    }

    #[test]
    fn a_lock_of_a_removed_file_is_not_taken_for_the_directorys() {
        let dir = tempfile::tempdir().unwrap();
        let old = DirLock::take(dir.path(), "--out").unwrap();
        std::fs::remove_file(dir.path().join(LOCK)).unwrap();
        let new = DirLock::take(dir.path(), "--out").unwrap();
        drop(old);
        // The old one has removed the new one's file; what is locked now is not in the directory any more.
        drop(new);
        DirLock::take(dir.path(), "--out").unwrap();
    }

    #[test]
    fn a_plan_that_is_carried_out_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        await_plan_end(&path).unwrap();
        std::fs::write(&path, "{}").unwrap();
        let held = hold_plan(&path).unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                drop(held);
            });
            await_plan_end(&path).unwrap();
        });
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
