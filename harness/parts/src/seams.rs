//! Every seam and what can stand behind it, as `norikv-bench list` shows it.

use crate::{PartsError, engines};

/// A place where one part can be exchanged for another.
#[derive(Clone, Debug)]
pub struct Seam {
    /// The name in files and command lines.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What can stand there.
    pub parts: Vec<Part>,
}

/// Something that can stand behind a seam.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The name in files and command lines.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
}

/// Every seam.
pub fn seams() -> Vec<Seam> {
    let engine = engines().iter().map(|entry| Part { name: entry.name, about: entry.about });
    vec![Seam { name: "engine", about: "a whole store", parts: engine.collect() }]
}

/// The seam called `name`.
///
/// # Errors
///
/// If there is none, with the nearest name there is.
pub fn seam(name: &str) -> Result<Seam, PartsError> {
    let all = seams();
    let known: Vec<&str> = all.iter().map(|seam| seam.name).collect();
    let error = PartsError::unknown("seam", name, known);
    all.into_iter().find(|seam| seam.name == name).ok_or(error)
}
