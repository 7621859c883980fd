//! The access seam: how a table's blocks come out of its file.
//!
//! `pread` copies a block into memory of its own, which the cache's budget counts. `mmap` maps the file when the
//! table is opened: a block that is stored as it is lies in the mapping and is only checked, so what the cache
//! holds of it is a few words, and the memory is the page cache's. A compressed block is unpacked into memory of its
//! own either way. With `mmap` an I/O error of the disk ends the process; see `nori_env::File::map`.

/// How blocks are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Positioned reads into memory of our own.
    #[default]
    Pread,
    /// Through a mapping of the whole file.
    Mmap,
}

/// Every way, by name, with a line for people who choose; the first is the default.
pub const ACCESSES: [(&str, Access, &str); 2] = [
    ("pread", Access::Pread, "positioned reads into memory that the cache counts"),
    (
        "mmap",
        Access::Mmap,
        "maps each table: no copy and no call for a block, memory is the page cache's",
    ),
];

/// The way called `name`.
pub fn access(name: &str) -> Option<Access> {
    ACCESSES.iter().find(|(known, ..)| *known == name).map(|(_, access, _)| *access)
}
