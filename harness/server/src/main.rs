//! `norikv-server`: see [`norikv_server::program`].

use std::process::ExitCode;

/// What one thread of a server allocates another lets go: memory that waits for nobody's lock (`docs/decisions/0023`).
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    norikv_server::program::main()
}
