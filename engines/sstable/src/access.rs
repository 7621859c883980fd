//! The access seam: how a table's blocks come out of its file.
//!
//! Either way a block becomes memory of its own, which the cache's budget counts, and is verified *there*: `pread` reads it,
//! `mmap` maps the file when the table is opened and copies it, without a call of the operating system. A block that stayed
//! in the mapping would be checked once and then be whatever its page holds when it is fetched again: see
//! `docs/decisions/0008`. With `mmap` an I/O error of the disk, or a file that somebody cuts, ends the process (SIGBUS);
//! see `nori_env::File::map`.

/// How blocks are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Positioned reads into memory of our own.
    #[default]
    Pread,
    /// Copied out of a mapping of the whole file.
    Mmap,
}

/// Every way, by name, with a line for people who choose; the first is the default.
pub const ACCESSES: [(&str, Access, &str); 2] = [
    ("pread", Access::Pread, "positioned reads into memory that the cache counts"),
    (
        "mmap",
        Access::Mmap,
        "maps each table: no call for a block; an I/O error of the disk ends the process",
    ),
];

/// The way called `name`.
pub fn access(name: &str) -> Option<Access> {
    ACCESSES.iter().find(|(known, ..)| *known == name).map(|(_, access, _)| *access)
}
