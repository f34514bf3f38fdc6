//! The names of errors.

use rustix::io::Errno;

macro_rules! names {
    ($($NAME:ident)*) => { &[$((Errno::$NAME, concat!("E", stringify!($NAME)))),*] };
}

/// The two errors that rustix names differently from the kernel. [`errno_name`] finds the first
/// name of a number, so they come before all others.
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

/// Returns the kernel's name of an error, for example `ENOENT`.
pub(crate) fn errno_name(errno: Errno) -> Option<&'static str> {
    let mut names = OTHERWISE.iter().chain(NAMES);
    names.find(|(number, _)| *number == errno).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
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
        // 512 is internal to the kernel (ERESTARTSYS). 4095 is unused.
        for number in [512, 4095] {
            assert_eq!(name(number), None);
        }
    }

    /// 41 and 58 are unused on x86_64.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_error_has_a_name() {
        let nameless =
            (1..=libc::EHWPOISON).filter(|n| errno_name(Errno::from_raw_os_error(*n)).is_none());
        assert!(nameless.eq([41, 58]));
    }
}
