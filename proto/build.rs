//! Makes messages and stubs of the definitions. The compiler for them is a library, so that no program has to be installed.

use prost::Message as _;
use std::path::PathBuf;
use std::{env, fs};

const FILES: [&str; 5] = [
    "norikv/v1/kv.proto",
    "norikv/v1/cluster.proto",
    "norikv/v1/admin.proto",
    "norikv/v1/peer.proto",
    "norikv/v1/test_control.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    FILES.iter().for_each(|file| println!("cargo:rerun-if-changed={file}"));
    let set = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("norikv.v1.bin"), set.encode_to_vec())?;
    let codec = "crate::codec::SmallCodec";
    tonic_prost_build::configure().bytes(".").codec_path(codec).compile_fds(set)?;
    Ok(())
}
