//! The names of errors.

use rustix::io::Errno;

macro_rules! names {
    ($($NAME:ident)*) => { &[$((Errno::$NAME, concat!("E", stringify!($NAME)))),*] };
}

/// Two that rustix calls otherwise than the kernel, and all others. Of two names for one number, the
/// first is found.
const OTHERWISE: &[(Errno, &str)] = &[(Errno::ACCESS, "EACCES"), (Errno::TOOBIG, "E2BIG")];
const NAMES: &[(Errno, &str)] = names! {
    ADDRINUSE ADDRNOTAVAIL ADV AFNOSUPPORT AGAIN ALREADY BADE BADF BADFD BADMSG BADR BADRQC BADSLT
    BFONT BUSY CANCELED CHILD CHRNG COMM CONNABORTED CONNREFUSED CONNRESET DEADLK DESTADDRREQ DOM
    DOTDOT DQUOT EXIST FAULT FBIG HOSTDOWN HOSTUNREACH HWPOISON IDRM ILSEQ INPROGRESS INTR INVAL
    IO ISCONN ISDIR ISNAM KEYEXPIRED KEYREJECTED KEYREVOKED L2HLT L2NSYNC L3HLT L3RST LIBACC
    LIBBAD LIBEXEC LIBMAX LIBSCN LNRNG LOOP MEDIUMTYPE MFILE MLINK MSGSIZE MULTIHOP NAMETOOLONG
    NAVAIL NETDOWN NETRESET NETUNREACH NFILE NOANO NOBUFS NOCSI NODATA NODEV NOENT NOEXEC NOKEY
    NOLCK NOLINK NOMEDIUM NOMEM NOMSG NONET NOPKG NOPROTOOPT NOSPC NOSR NOSTR NOSYS NOTBLK NOTCONN
    NOTDIR NOTEMPTY NOTNAM NOTRECOVERABLE NOTSOCK NOTTY NOTUNIQ NXIO OPNOTSUPP OVERFLOW OWNERDEAD
    PERM PFNOSUPPORT PIPE PROTO PROTONOSUPPORT PROTOTYPE RANGE REMCHG REMOTE REMOTEIO RESTART
    RFKILL ROFS SHUTDOWN SOCKTNOSUPPORT SPIPE SRCH SRMNT STALE STRPIPE TIME TIMEDOUT TOOMANYREFS
    TXTBSY UCLEAN UNATCH USERS XDEV XFULL DEADLOCK
};

/// The kernel's name of an error, `ENOENT` for one.
pub(crate) fn errno_name(errno: Errno) -> Option<&'static str> {
    let mut names = OTHERWISE.iter().chain(NAMES);
    names.find(|(number, _)| *number == errno).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_kernels_names() {
        let name = |number| errno_name(Errno::from_raw_os_error(number));
        let some = [
            (libc::EPERM, "EPERM"),
            (libc::ENOENT, "ENOENT"),
            (libc::E2BIG, "E2BIG"),
            (libc::EACCES, "EACCES"),
            (libc::EAGAIN, "EAGAIN"),
            (libc::EDEADLK, "EDEADLK"),
            (libc::EOPNOTSUPP, "EOPNOTSUPP"),
            (libc::ECANCELED, "ECANCELED"),
            (libc::EHWPOISON, "EHWPOISON"),
        ];
        for (number, expected) in some {
            assert_eq!(name(number), Some(expected));
        }
        // The kernel's own, which no program should see; and numbers that nobody uses.
        for number in [512, 4095] {
            assert_eq!(name(number), None);
        }
    }

    /// Two numbers are free.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn no_error_is_left_out() {
        let nameless =
            (1..=libc::EHWPOISON).filter(|n| errno_name(Errno::from_raw_os_error(*n)).is_none());
        assert!(nameless.eq([41, 58]));
    }
}
