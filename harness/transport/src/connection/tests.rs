//! What ends a connection.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Both ends of a connection that was taken in, if it was.
async fn pair(way: &Way) -> (TcpStream, Option<Connection>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (far, way.admit(listener.accept().await.unwrap().0))
}

#[tokio::test]
async fn there_is_room_for_so_many_until_one_goes() {
    let door = Door::new();
    let way = door.way(1);
    let (_far, near) = pair(&way).await;
    assert!(near.is_some());
    assert!(pair(&way.clone()).await.1.is_none());
    drop(near);
    assert!(pair(&way).await.1.is_some());
}

#[tokio::test]
async fn all_end_with_the_door_whatever_they_do() {
    let door = Door::new();
    let way = door.way(2);
    let ((mut far, reader), (_other, writer)) = (pair(&way).await, pair(&way).await);
    far.write_all(b"x").await.unwrap();
    let (has_read, read) = tokio::sync::oneshot::channel();
    let reads = tokio::spawn(async move {
        let mut reader = reader.unwrap();
        has_read.send(reader.read_u8().await.unwrap()).unwrap();
        reader.read_u8().await
    });
    // Nobody takes what it writes.
    let writes = tokio::spawn(async move { writer.unwrap().write_all(&vec![0; 64 << 20]).await });
    assert_eq!(read.await.unwrap(), b'x');
    drop(door);
    assert_eq!(reads.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(writes.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_hung_up_on_and_who_has_spoken_is_not() {
    let door = Door::new();
    let way = door.way(2);
    let ((_silent, near), (mut far, heard)) = (pair(&way).await, pair(&way).await);
    far.write_all(b"x").await.unwrap();
    let mut heard = heard.unwrap();
    assert_eq!(heard.read_u8().await.unwrap(), b'x');
    let error = near.unwrap().read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let waited = tokio::time::timeout(FIRST_WORD * 3, heard.read_u8()).await;
    assert!(waited.is_err(), "a connection that spoke once may be idle");
}
