//! Why a choice of parts is refused.

/// A choice that cannot be built. The caller's file or command line has to be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// No part of that seam bears the name.
    #[error("no {seam} is called `{name}`{}", hint(nearest.as_deref(), known))]
    UnknownName {
        /// The seam that was asked.
        seam: String,
        /// The name that was given.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// The engine has no such seam.
    #[error("{engine} has no `{seam}` to choose{}", hint(nearest.as_deref(), known))]
    NoSuchChoice {
        /// The engine.
        engine: String,
        /// The seam or setting that was given.
        seam: String,
        /// What it has that is most like it.
        nearest: Option<String>,
        /// All that it has.
        known: Vec<String>,
    },
    /// The engine is known, and this program was built without it.
    #[error(
        "{name} is not built in: build with the cargo feature `{feature}`, as in `cargo run --release --features {feature} -- ...`"
    )]
    NotBuiltIn {
        /// The engine.
        name: String,
        /// The feature that builds it in.
        feature: &'static str,
    },
    /// The value does not fit.
    #[error("{0}")]
    Invalid(String),
}

/// The nearest name, or all there are where none is near.
fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; there are {}", known.join(", ")),
    }
}

impl PartsError {
    /// No part of `seam` is called `name`; `known` are the names there are.
    pub fn unknown<'a>(seam: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        Self::UnknownName { seam: seam.into(), name: name.into(), nearest, known }
    }

    /// `engine` has nothing called `seam` to choose; `known` is what it has.
    pub fn no_choice<'a>(
        engine: &str,
        seam: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let nearest = nearest(seam, known.iter().map(String::as_str)).map(str::to_owned);
        Self::NoSuchChoice { engine: engine.into(), seam: seam.into(), nearest, known }
    }
}

/// The name most like `wrong`, if one is like it at all.
fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name| {
        let slips = strsim::osa_distance(wrong, name);
        let score = strsim::jaro_winkler(wrong, name);
        (slips == 1 || score > 0.7).then_some((slips, score, name))
    };
    let alike = names.into_iter().filter_map(likeness);
    // Fewest slips first: likeness alone would prefer a name for its beginning.
    alike.min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))).map(|(.., name)| name)
}
