//! What is wrong with a command line, in one sentence with the nearest name: clap's own errors take several lines.

use crate::registry::engines;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use nori_workloads::nearest;

/// The sentence for the `error` of `args`, without its full stop.
pub(super) fn complaint(error: &clap::Error, args: &[String], commands: &[&str]) -> String {
    let said = |kind| error.get(kind).map(words).unwrap_or_default();
    let given = said(ContextKind::InvalidValue);
    // `--records <RECORDS>`, `<KIND>` or `[WORKLOAD]` in clap's words; the name alone is enough.
    let arg = said(ContextKind::InvalidArg);
    let option = arg.split([' ', '=']).next().unwrap_or_default().replace(['[', ']', '<', '>'], "");
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = said(ContextKind::InvalidSubcommand);
            let known = commands.iter().copied().chain(["--help"]);
            format!("no command is called `{name}`{}", hint(nearest(&name, known)))
        }
        ErrorKind::UnknownArgument => {
            unknown(&option, args, &said(ContextKind::SuggestedArg), commands)
        }
        ErrorKind::InvalidValue if given.is_empty() => format!("{option} needs a value"),
        ErrorKind::InvalidValue => {
            let valid = said(ContextKind::ValidValue);
            let meant = hint(nearest(&given, valid.split(", ")));
            format!("{option}: `{given}` is not one of {valid}{meant}")
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map(ToString::to_string);
            format!("{option}: {}", why.unwrap_or_else(|| format!("`{given}` is not understood")))
        }
        ErrorKind::ArgumentConflict => {
            let prior = said(ContextKind::PriorArg);
            let prior = prior.split(' ').next().unwrap_or_default();
            if prior.is_empty() || prior == option {
                format!("{option} is given twice")
            } else {
                format!("{option} and {prior} exclude each other")
            }
        }
        ErrorKind::MissingRequiredArgument => {
            format!("{} is missing", arg.replace(['<', '>'], ""))
        }
        _ => plain(error),
    }
}

/// An argument that the command does not have.
fn unknown(arg: &str, args: &[String], suggested: &str, commands: &[&str]) -> String {
    if !arg.starts_with('-') {
        let is_engine = engines().iter().any(|entry| entry.name == arg);
        let meant = format!("--engine {arg}");
        return format!(
            "`{arg}` is one argument too many{}",
            hint(is_engine.then_some(meant.as_str()))
        );
    }
    if arg[1..].starts_with(|c: char| c.is_ascii_digit()) {
        // Of `--memory -1MiB` clap tells `-1`.
        let mut pairs = args.iter().zip(args.iter().skip(1));
        let is_value =
            |pair: &(&String, &String)| pair.0.starts_with("--") && pair.1.starts_with(arg);
        return match pairs.find(is_value) {
            Some((option, value)) => format!("{option}: `{value}` is negative"),
            None => format!("`{arg}` is no option, and no number here is negative"),
        };
    }
    let as_command = nearest(arg.trim_start_matches('-'), commands.iter().copied());
    let meant = if suggested.is_empty() { as_command } else { Some(suggested) };
    format!("no option is called `{arg}`{}", hint(meant))
}

fn hint(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}

fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::String(word) => word.clone(),
        ContextValue::Strings(words) => words.join(", "),
        ContextValue::StyledStr(styled) => styled.to_string(),
        other => other.to_string(),
    }
}

/// The first line of clap's own message.
fn plain(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}
