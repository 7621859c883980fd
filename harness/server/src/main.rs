//! `norikv-server`: see [`norikv_server::program`].

use std::process::ExitCode;

fn main() -> ExitCode {
    norikv_server::program::main()
}
