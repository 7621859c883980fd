//! Java's `.properties` text: keys and values, a line each, as `java.util.Properties` reads them.
//!
//! 1. A line that is blank, or whose first character other than a blank is `#` or `!`, says nothing.
//! 2. A line that ends in an odd number of backslashes goes on in the next, whose leading blanks do not count.
//! 3. The key ends at the first `=`, `:` or blank that no backslash precedes. Blanks around it, and one `=` or `:`
//!    among them, separate it from the value.
//! 4. `\t`, `\n`, `\r`, `\f` and `\uXXXX` are characters; before any other character a backslash falls away.
//!
//! Blanks at the end of a value fall away too, which Java keeps: its own readers of numbers then fail, and nobody
//! means them. Where a key is given twice the last one counts, as in Java.

use crate::FileError;

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) key: String,
    pub(crate) value: String,
    /// The line on which it begins, from 1.
    pub(crate) line: usize,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Reads the properties of `text`, in order. `origin` is what errors call it.
pub(crate) fn parse(origin: &str, text: &str) -> Result<Vec<Property>, FileError> {
    let mut properties: Vec<Property> = Vec::new();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').zip(1..);
    while let Some((first, line)) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = first.to_owned();
        while whole.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
            whole.pop();
            let Some((more, _)) = lines.next() else { break };
            whole.push_str(more.trim_start_matches(is_blank));
        }
        let (key, value) = split(&whole);
        let plain = |text: &str| {
            unescaped(text).map_err(|what| FileError { origin: origin.into(), line, what })
        };
        let (key, value) = (plain(key)?, plain(value.trim_end())?);
        properties.retain(|earlier| earlier.key != key);
        properties.push(Property { key, value, line });
    }
    Ok(properties)
}

/// The key and the value of a logical line, both still with their backslashes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let ends = |c: char| {
        let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        ends
    };
    let end = line.find(ends).unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let is_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
                let c = code.and_then(char::from_u32);
                plain.push(c.ok_or_else(|| format!("`\\u{digits}` is no character"))?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let all = parse("w", text).unwrap();
        all.into_iter().map(|p| (p.key, p.value, p.line)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let (key, value, _) = pairs(text).remove(0);
        (key, value)
    }

    #[test]
    fn every_separator_and_every_comment_is_understood() {
        for line in ["a=b", "a:b", "a b", "  a = b  ", "a\t:\tb", "a =b", "a   b", "a\u{c}b\r"] {
            assert_eq!(one(line), ("a".into(), "b".into()), "{line:?}");
        }
        assert_eq!(one("a==b").1, "=b");
        assert_eq!(one("a b=c").1, "b=c");
        assert_eq!(one("a"), ("a".into(), String::new()));
        let text = "# one\n! two\n\n   # three\r\nx=1\ry=2\n#z=3\\\nw=4";
        let expected = [("x", "1", 5), ("y", "2", 6), ("w", "4", 8)];
        assert_eq!(pairs(text), expected.map(|(k, v, line)| (k.into(), v.into(), line)));
    }

    #[test]
    fn lines_go_on_after_an_odd_number_of_backslashes() {
        assert_eq!(one("a=b\\\n   c").1, "bc");
        assert_eq!(one("a=b\\\\\nc=d").1, "b\\");
        assert_eq!(one("a=b\\\\\\\n c").1, "b\\c");
        assert_eq!(one("a=b\\\n#c").1, "b#c");
        assert_eq!(one("a=b\\").1, "b");
        assert_eq!(pairs("a\\\n=1\nb=2")[1].2, 3);
    }

    #[test]
    fn escapes_are_those_of_java() {
        assert_eq!(
            one(r"a\ b\=c\:d = \tx\n\u00e9\q\#"),
            ("a b=c:d".into(), "\tx\né".to_owned() + "q#")
        );
        let error = parse("w", "x=1\ny=\\u12g4").unwrap_err();
        assert_eq!(error.to_string(), "w:2: `\\u12g4` is no character");
    }

    #[test]
    fn of_a_key_that_is_given_twice_the_last_counts() {
        assert_eq!(
            pairs("a=1\nb=2\na=3"),
            [("b".into(), "2".into(), 2), ("a".into(), "3".into(), 3)]
        );
    }
}
