//! Every input that was kept, and what is near it: cut short anywhere, a bit flipped anywhere, a number made huge.

use norikv_fuzz::TARGETS;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Inputs of a target, by name.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus(target);
    let files = std::fs::read_dir(&folder).expect("every target has a corpus");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, std::fs::read(path).expect("a readable file"))
    };
    let mut inputs: Vec<_> = files.map(read).collect();
    inputs.sort();
    inputs
}

#[test]
fn everything_that_was_kept_comes_back() {
    for (name, target) in TARGETS {
        let inputs = kept(name);
        assert!(inputs.len() >= 2, "{name} has {} inputs", inputs.len());
        for (_, bytes) in inputs {
            target(&bytes);
        }
    }
}

#[test]
fn what_is_near_comes_back_too() {
    for (name, target) in TARGETS {
        target(&[]);
        for (_, bytes) in kept(name) {
            for at in 0..bytes.len().min(400) {
                target(&bytes[..at]);
                let mut near = bytes.clone();
                for bit in [0, 3, 7] {
                    near[at] ^= 1 << bit;
                    target(&near);
                    near[at] ^= 1 << bit;
                }
                let length = (bytes.len() - at).min(4);
                near[at..at + length].fill(0xFF);
                target(&near);
            }
        }
    }
}
