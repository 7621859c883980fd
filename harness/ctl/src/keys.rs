//! Keys and values.

use crate::args::{Cas, Cli, Consistency, Del, Get, Output, Put, Scan};
use crate::{NotFound, Usage, out};
use anyhow::Result;
use norikv_client::{
    Client, Condition, DeleteOptions, Error, ErrorKind, GetOptions, PutOptions, Row, ScanOptions,
};
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::{Duration, Instant};

pub(crate) async fn put(client: &Client, cli: &Cli, put: &Put) -> Result<()> {
    let value = match put.value.as_deref() {
        None | Some("-") => {
            let mut value = Vec::new();
            std::io::stdin().lock().read_to_end(&mut value)?;
            value
        }
        Some(value) => out::bytes(cli, value)?,
    };
    let condition = match (put.if_absent, put.if_version) {
        (true, _) => Condition::Absent,
        (false, Some(version)) => Condition::Version(version),
        (false, None) => Condition::None,
    };
    let options =
        PutOptions { ttl: put.ttl, condition, idempotency_key: put.idempotency_key.clone() };
    let version = client.put_with(out::bytes(cli, &put.key)?, value, options).await?;
    written(cli, version)
}

fn written(cli: &Cli, version: u64) -> Result<()> {
    match cli.output {
        Output::Raw => out::line(&version.to_string()),
        _ => out::one(cli, &json!({ "version": version })),
    }
}

fn consistency(
    given: Consistency,
    max_age: Option<Duration>,
) -> Result<norikv_client::Consistency> {
    match given {
        Consistency::Stale => {
            Ok(norikv_client::Consistency::Stale { age_max: max_age, version_min: 0 })
        }
        _ if max_age.is_some() => {
            Err(Usage("--max-age is for --consistency stale".to_owned()).into())
        }
        Consistency::Lease => Ok(norikv_client::Consistency::Lease),
        Consistency::Linearizable => Ok(norikv_client::Consistency::Linearizable),
    }
}

pub(crate) async fn get(client: &Client, cli: &Cli, get: &Get) -> Result<()> {
    let consistency = Some(consistency(get.consistency, get.max_age)?);
    let key = out::bytes(cli, &get.key)?;
    let Some(entry) = client.get_with(key, GetOptions { consistency }).await? else {
        return Err(NotFound.into());
    };
    if cli.output == Output::Raw {
        out::raw(&entry.value)?;
        // A line of its own where people read; nothing is added where a program does.
        return if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            out::line("")
        } else {
            Ok(())
        };
    }
    let age_ms = entry.age.map(|age| age.as_millis() as u64);
    out::one(
        cli,
        &json!({
            "key": get.key, "value": out::shown(cli, &entry.value), "version": entry.version,
            "node": entry.node, "age_ms": age_ms,
        }),
    )
}

pub(crate) async fn del(client: &Client, cli: &Cli, del: &Del) -> Result<()> {
    let condition = del.if_version.map_or(Condition::None, Condition::Version);
    let options = DeleteOptions { condition, idempotency_key: None };
    let version = client.delete_with(out::bytes(cli, &del.key)?, options).await?;
    written(cli, version)
}

pub(crate) async fn cas(client: &Client, cli: &Cli, cas: &Cas) -> Result<()> {
    let condition = match cas.expect_version {
        0 => Condition::Absent,
        version => Condition::Version(version),
    };
    let options = PutOptions { condition, ..PutOptions::default() };
    let (key, value) = (out::bytes(cli, &cas.key)?, out::bytes(cli, &cas.value)?);
    written(cli, client.put_with(key, value, options).await?)
}

/// Rows of a scan for which `--timeout` is waited in all. How long whoever reads them takes does not count.
struct Rows {
    rows: norikv_client::Scan,
    left: Duration,
    has_begun: bool,
}

impl Rows {
    async fn next(&mut self, cli: &Cli) -> Result<Option<Row>> {
        let asked = Instant::now();
        // The first one has the client's deadline, and it knows why there is none.
        let row = match std::mem::replace(&mut self.has_begun, true) {
            false => self.rows.next().await,
            true => match tokio::time::timeout(self.left, self.rows.next()).await {
                Ok(row) => row,
                Err(_) => {
                    let message = format!(
                        "there are more rows than came within {:?}: give --timeout more",
                        cli.timeout
                    );
                    let kind = ErrorKind::DeadlineExceeded;
                    let error = Error { kind, message, attempts: 1, maybe_committed: false };
                    return Err(error.into());
                }
            },
        };
        self.left = self.left.saturating_sub(asked.elapsed());
        Ok(row.transpose()?)
    }
}

pub(crate) async fn scan(client: &Client, cli: &Cli, scan: &Scan) -> Result<()> {
    let bytes = |text: &Option<String>| out::bytes(cli, text.as_deref().unwrap_or_default());
    let options = ScanOptions {
        start: bytes(&scan.start)?.into(),
        end: bytes(&scan.end)?.into(),
        prefix: bytes(&scan.prefix)?.into(),
        limit: scan.limit,
        keys_only: scan.keys_only,
        consistency: Some(consistency(scan.consistency, None)?),
    };
    let mut rows = Rows { rows: client.scan(options), left: cli.left(), has_begun: false };
    let mut shown = Vec::new();
    while let Some(row) = rows.next(cli).await? {
        if cli.output == Output::Raw {
            let mut bytes = row.key.to_vec();
            if !scan.keys_only {
                bytes.push(b'\t');
                bytes.extend_from_slice(&row.value);
            }
            bytes.push(b'\n');
            out::raw(&bytes)?;
            continue;
        }
        let mut fields = json!({ "key": out::shown(cli, &row.key), "version": row.version });
        if !scan.keys_only {
            fields["value"] = Value::String(out::shown(cli, &row.value));
        }
        // One line each needs no memory for all of them.
        match cli.output {
            Output::Jsonl => out::line(&fields.to_string())?,
            _ => shown.push(fields),
        }
    }
    if matches!(cli.output, Output::Table | Output::Json) { out::many(cli, &shown) } else { Ok(()) }
}

pub(crate) async fn locate(client: &Client, cli: &Cli, key: &str) -> Result<()> {
    let location = client.locate(out::bytes(cli, key)?).await?;
    out::one(
        cli,
        &json!({
            "key": key, "shard": location.shard, "voters": location.voters, "leader": location.leader,
        }),
    )
}
