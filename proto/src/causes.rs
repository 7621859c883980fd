//! An error in one line: what it is and why, each said once. Many libraries say the cause in the error already, and as its source again.

use std::error::Error;

/// `error` and its causes.
pub fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::told;
    use std::fmt;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Link {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_ref().map(|link| &**link as _)
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let last = Link("refused", None);
        let middle = Link("connect: refused", Some(Box::new(last)));
        assert_eq!(told(&middle), "connect: refused");
        assert_eq!(told(&Link("no node", Some(Box::new(middle)))), "no node: connect: refused");
    }
}
