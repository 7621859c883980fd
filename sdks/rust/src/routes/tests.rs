//! Why nobody has told the topology, against other ends that do not.

use crate::{Client, ErrorKind};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const DEADLINE: Duration = Duration::from_millis(500);

/// What a client says that asks for the topology at an address.
async fn why(address: &str) -> String {
    let client = Client::builder([address]).deadline(DEADLINE).build().unwrap();
    let begun = Instant::now();
    let error = client.topology().await.unwrap_err();
    assert!(begun.elapsed() >= DEADLINE);
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Unavailable, 0));
    let text = error.to_string();
    assert_eq!((text.lines().count(), text.matches(address).count()), (1, 1), "{text}");
    let (what, why) = text.split_once(": ").unwrap();
    assert_eq!(what, "no node has said what the cluster is");
    why.to_owned()
}

#[tokio::test]
async fn the_cause_is_told_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It takes the connection, and says nothing: it is being asked for the first time still.
    let told = why(&address).await;
    assert!(told.starts_with(&format!("{address} has not answered within ")), "{told}");
    // It takes each, and closes it.
    let closing = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let told = why(&address).await;
    assert!(told.starts_with(&format!("the connection to {address} broke: ")), "{told}");
    closing.abort();
    let _ = closing.await;
    let told = why(&address).await;
    assert!(told.starts_with(&format!("cannot connect to {address}: ")), "{told}");
    assert!(told.contains("Connection refused"), "{told}");
}
