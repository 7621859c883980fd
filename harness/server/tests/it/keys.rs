//! Keys and values, through the client.

use super::one;
use norikv_client::{
    Batch, Client, Condition, Consistency, DeleteOptions, ErrorKind, GetOptions, PutOptions,
    ScanOptions,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_read_with_its_version_and_what_is_removed_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let first = client.put("a", "1").await.unwrap();
    let entry = client.get("a").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.version), (&b"1"[..], first));
    let second = client.put("a", "2").await.unwrap();
    assert!(second > first);
    for consistency in [Consistency::Lease, Consistency::Linearizable] {
        let options = GetOptions { consistency: Some(consistency) };
        assert_eq!(client.get_with("a", options).await.unwrap().unwrap().version, second);
    }
    let removed = client.delete("a").await.unwrap();
    assert!(removed > second);
    assert_eq!(client.get("a").await.unwrap(), None);
    assert_eq!(client.get("never").await.unwrap(), None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_or_tell_the_version_that_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let only_if = |condition| PutOptions { condition, ..PutOptions::default() };
    let first = client.put_with("a", "1", only_if(Condition::Absent)).await.unwrap();
    let error = client.put_with("a", "2", only_if(Condition::Absent)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::VersionMismatch { actual: first });
    assert!(!error.maybe_committed && !error.is_retryable());
    let second = client.put_with("a", "2", only_if(Condition::Version(first))).await.unwrap();
    let stale = DeleteOptions { condition: Condition::Version(first), idempotency_key: None };
    let error = client.delete_with("a", stale).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::VersionMismatch { actual: second });
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_from_many_tasks_all_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let add = |client: Client| async move {
        for _ in 0..10 {
            let plus_one = |entry: Option<&norikv_client::Entry>| {
                let number = entry.map_or(0, |entry| {
                    std::str::from_utf8(&entry.value).unwrap().parse::<u64>().unwrap()
                });
                Some((number + 1).to_string().into())
            };
            client.update("counter", plus_one).await.unwrap();
        }
    };
    let tasks: Vec<_> = (0..5).map(|_| tokio::spawn(add(client.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(&client.get("counter").await.unwrap().unwrap().value[..], b"50");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_is_executed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let named = || PutOptions { idempotency_key: Some("n-1".to_owned()), ..PutOptions::default() };
    let first = client.put_with("a", "1", named()).await.unwrap();
    client.put("a", "2").await.unwrap();
    assert_eq!(client.put_with("a", "1", named()).await.unwrap(), first);
    assert_eq!(&client.get("a").await.unwrap().unwrap().value[..], b"2");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_in_order_over_all_shards_and_within_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    for n in 0..300 {
        client.put(format!("k{n:03}"), vec![7u8; 400]).await.unwrap();
    }
    client.put("other", "x").await.unwrap();
    let rows = client.scan(ScanOptions::prefix("k")).collect().await.unwrap();
    let keys: Vec<String> =
        rows.iter().map(|row| String::from_utf8(row.key.to_vec()).unwrap()).collect();
    assert_eq!(keys, (0..300).map(|n| format!("k{n:03}")).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.value.len() == 400 && row.version > 0));
    let some = ScanOptions {
        start: "k010".into(),
        end: "k020".into(),
        limit: 7,
        keys_only: true,
        ..ScanOptions::default()
    };
    let rows = client.scan(some).collect().await.unwrap();
    assert_eq!(rows.len(), 7);
    assert_eq!((&rows[0].key[..], &rows[6].key[..]), (&b"k010"[..], &b"k016"[..]));
    assert!(rows.iter().all(|row| row.value.is_empty()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_one_shard_is_one_write_and_of_two_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let topology = client.topology().await.unwrap();
    let of_shard = |shard| {
        let keys = (0..).map(|n: u32| format!("b{n}"));
        keys.filter(move |key| topology.shard_of(key.as_bytes()) == Some(shard))
    };
    let here: Vec<String> = of_shard.clone()(1).take(2).collect();
    let there = of_shard(2).next().unwrap();
    let batch = Batch::new().put(here[0].clone(), "1").put(here[1].clone(), "2");
    let version = client.batch(batch).await.unwrap();
    for key in &here {
        assert_eq!(client.get(key.clone()).await.unwrap().unwrap().version, version);
    }
    let batch = Batch::new().put(here[0].clone(), "1").delete(there);
    assert_eq!(client.batch(batch).await.unwrap_err().kind, ErrorKind::WrongShard);
    let batch =
        Batch::new().put(here[0].clone(), "9").only_if(Condition::Absent).put(here[1].clone(), "9");
    let error = client.batch(batch).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::VersionMismatch { actual: version });
    assert_eq!(client.get(here[1].clone()).await.unwrap().unwrap().version, version);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_a_time_to_live_goes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let ttl = Some(Duration::from_millis(300));
    client.put_with("a", "1", PutOptions { ttl, ..PutOptions::default() }).await.unwrap();
    assert!(client.get("a").await.unwrap().is_some());
    let gone = async {
        while client.get("a").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_with_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[("limits.value", "1KiB")]).await;
    let error = client.put("a", vec![0u8; 2_000]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge { limit: 1_024 });
    let error = client.put(vec![1u8; 5_000], "1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge { limit: 4_096 });
    let error = client.put("", "1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u32 {
        let (running, client) = one(dir.path(), &[]).await;
        for n in 0..round {
            let entry = client.get(format!("round-{n}")).await.unwrap();
            assert_eq!(&entry.unwrap().value[..], n.to_string().as_bytes());
        }
        client.put(format!("round-{round}"), round.to_string()).await.unwrap();
        running.stop().await;
    }
}
