//! What comes out at the other end, and in how many calls.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A socket that counts calls, and takes so much at once.
struct Counted {
    inner: tokio::io::DuplexStream,
    calls: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let bytes = buf.len().min(self.bytes_max);
        Pin::new(&mut self.inner).poll_write(cx, &buf[..bytes])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn pair(bytes_max: usize) -> (Gathering<Counted>, tokio::io::DuplexStream, Arc<AtomicUsize>) {
    let (near, far) = tokio::io::duplex(1 << 10);
    let calls = Arc::<AtomicUsize>::default();
    let counted = Counted { inner: near, calls: Arc::clone(&calls), bytes_max };
    (Gathering::new(counted), far, calls)
}

#[tokio::test]
async fn what_is_written_before_a_flush_ends_goes_out_in_one_call() {
    let (mut near, mut far, calls) = pair(usize::MAX);
    for piece in [&b"one "[..], b"two ", b"three"] {
        near.write_all(piece).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    near.flush().await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let mut got = [0; 13];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"one two three");
}

#[tokio::test]
async fn everything_arrives_in_order_however_little_the_socket_takes() {
    for bytes_max in [1, 7, 5_000] {
        let (mut near, mut far, _) = pair(bytes_max);
        let sent: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let writes = async {
            // Pieces below, at and above what is gathered; some with a flush behind them.
            let mut rest = &sent[..];
            for bytes in [1, 100, GATHERED_BYTES_MAX, GATHERED_BYTES_MAX + 1, 3, 60_000] {
                let (piece, after) = rest.split_at(bytes.min(rest.len()));
                near.write_all(piece).await.unwrap();
                if bytes % 2 == 1 {
                    near.flush().await.unwrap();
                }
                rest = after;
            }
            near.write_all(rest).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let reads = far.read_to_end(&mut got);
        let ((), read) = tokio::join!(writes, reads);
        assert!(read.unwrap() == sent.len() && got == sent, "{bytes_max} bytes at once");
    }
}

#[tokio::test]
async fn a_flush_lets_the_tasks_that_are_ready_go_first() {
    let (mut near, mut far, calls) = pair(usize::MAX);
    near.write_all(b"first ").await.unwrap();
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        polls += 1;
        if polls == 2 {
            // Another stream had something to say meanwhile.
            assert!(Pin::new(&mut near).poll_write(cx, b"second").is_ready());
        }
        Pin::new(&mut near).poll_flush(cx)
    })
    .await
    .unwrap();
    assert_eq!((polls, calls.load(Ordering::Relaxed)), (2, 1));
    let mut got = [0; 12];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"first second");
}
