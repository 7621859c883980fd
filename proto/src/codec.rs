//! Messages of prost, as gRPC frames them, in buffers that fit requests for one row.
//!
//! tonic takes eight kibibytes for each message it makes and for each it reads, on both sides of a call: four times what a page of the allocator holds a few of, for a hundred
//! bytes each. What is longer than [`BUFFER_BYTES`] grows as it comes.

use prost::Message;
use std::marker::PhantomData;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What is taken for a message before its length is known.
const BUFFER_BYTES: usize = 512;
/// A stream gathers messages up to here before it passes them on.
const GATHERED_BYTES: usize = 32 << 10;

/// See the module.
#[derive(Debug)]
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, GATHERED_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, GATHERED_BYTES))
    }
}
