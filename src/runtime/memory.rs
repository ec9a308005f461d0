//! What the kernel gives the process for memory.

/// Lets the kernel give memory in small pages only, from now on.
///
/// The allocator asks for huge pages, which make a gateway with gigabytes of values quicker. A process that needs ten
/// megabytes in many small pieces gets each piece in two megabytes of its own, and looks several times as large as it is.
pub fn use_small_pages() {
    // A kernel that cannot be asked has no huge pages, or gives them; either way all goes on.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
