//! Making payloads shorter: the length before as a varint, and an LZ4 block. Pure.

use crate::envelope::Reject;
use crate::error::{Error, ErrorKind};

/// The shorter form of `bytes`, if there is one.
pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    #[cfg(feature = "compression")]
    {
        let mut out = Vec::with_capacity(bytes.len());
        crate::envelope::put_varint(&mut out, bytes.len() as u64);
        let start = out.len();
        out.resize(start + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
        let len = lz4_flex::block::compress_into(bytes, &mut out[start..]).ok()?;
        out.truncate(start + len);
        (out.len() < bytes.len()).then_some(out)
    }
    #[cfg(not(feature = "compression"))]
    {
        let _ = bytes;
        None
    }
}

/// What [`compress`] was given.
pub(super) fn decompress(bytes: &[u8]) -> Result<Vec<u8>, Reject> {
    #[cfg(feature = "compression")]
    {
        let mut block = bytes;
        let len = crate::envelope::take_varint(&mut block)?;
        let len = usize::try_from(len).ok().filter(|&len| len <= super::format::MAX_LEN).ok_or(Reject::TooLarge)?;
        // A byte of a block stands for 255 at most: what claims more is wrong, and nothing is reserved for it.
        if len > block.len().saturating_mul(255) {
            return Err(Reject::Corrupt);
        }
        let mut out = vec![0; len];
        match lz4_flex::block::decompress_into(block, &mut out) {
            Ok(written) if written == len => Ok(out),
            _ => Err(Reject::Corrupt),
        }
    }
    #[cfg(not(feature = "compression"))]
    {
        let _ = bytes;
        Err(Reject::Codec)
    }
}

pub(crate) fn unsupported(setting: &str) -> Error {
    let what =
        format!("{setting}: compression is not compiled in: it needs the feature `compression` of cache-runtime");
    Error::new(ErrorKind::Unsupported, what)
}
