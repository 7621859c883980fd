//! Lengths of time and numbers of bytes, as people write them.

use std::time::Duration;

/// `300ms`, `5s`, `10m`, `2h`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "give a length of time, as in 50ms, 5s, 10m or 2h".to_owned())
}

/// `512`, `64KiB`, `16MiB`, `2GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let why = || "give bytes, as in 512, 64KiB, 16MiB or 2GiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| why())?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(why()),
    };
    number.checked_mul(1 << shift).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_and_bytes_are_read_and_others_refused() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(
            (bytes("512"), bytes("64KiB"), bytes("2GiB")),
            (Ok(512), Ok(65_536), Ok(2 << 30))
        );
        for wrong in
            ["", "5", "s", "-5s", "5 parsecs", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "KiB", "64kb", "-1", "99999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
