//! A ZIP archive without compression: all that a wheel needs.

/// The archive of these files.
pub(super) fn archive(files: &[(String, String)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let offset = to_u32(out.len());
        let common = common_fields(name, text);
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(text.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        // No comment, disk 0, no attributes, mode 0644 in the upper half.
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&(0o100_644_u32 << 16).to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let start = to_u32(out.len());
    let count = u16::try_from(files.len()).expect("few files").to_le_bytes();
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&count);
    out.extend_from_slice(&count);
    out.extend_from_slice(&to_u32(directory.len()).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out
}

/// Version, flags, method, time, date, checksum, sizes, lengths: the same in both places.
fn common_fields(name: &str, text: &str) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    let size = to_u32(text.len()).to_le_bytes();
    let mut fields = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x58];
    fields.extend_from_slice(&crc.sum().to_le_bytes());
    fields.extend_from_slice(&size);
    fields.extend_from_slice(&size);
    fields.extend_from_slice(&u16::try_from(name.len()).expect("a short name").to_le_bytes());
    fields.extend_from_slice(&[0; 2]);
    fields
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a small archive")
}
