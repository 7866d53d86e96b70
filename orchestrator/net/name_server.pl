# A name server that answers from a file in the form of /etc/hosts (RFC 1035). See name_server.py.
#
# perl name_server.pl FILE CODE: the UDP socket is file descriptor 3; CODE answers names that are not in the file.
use strict;
use warnings;
use Socket qw(AF_INET AF_INET6 inet_pton inet_ntop);

my ($file, $unknown) = @ARGV;
my %type = (1 => 'A', 12 => 'PTR', 28 => 'AAAA', 255 => 'ANY');
my %number = reverse %type;
my ($LONGEST, $AT_MOST) = (512, 24);    # bytes of a message, answers in it
my ($FORMERR, $NOTIMP) = (1, 4);

open(my $socket, '+<&=', 3) or die "no socket: $!\n";
while (1) {
    my $peer = recv($socket, my $question, 4096, 0);
    next unless defined $peer;
    my $answer = answer($question);
    send($socket, $answer, 0, $peer) if defined $answer;
}

# The answer to a message; nothing to what is no question.
sub answer {
    my ($message) = @_;
    return undef if length $message < 12;
    my ($id, $flags, $count) = unpack 'n3', $message;
    return undef if $flags & 0x8000;
    my $head = 0x8480 | ($flags & 0x0100);
    return pack 'n6', $id, $head | $NOTIMP, 0, 0, 0, 0 if $flags & 0x7800;
    my ($name, $end) = name_at($message, 12);
    return pack 'n6', $id, $head | $FORMERR, 0, 0, 0, 0
        if $count != 1 || !defined $name || length $message < $end + 4;
    my ($kind, $class) = unpack 'n2', substr $message, $end, 4;
    my $records = $class == 1 || $class == 255 ? known()->{$name} : undef;
    my @found = grep { $kind == 255 || $_->[0] == $kind } @{ $records || [] };
    splice @found, $AT_MOST if @found > $AT_MOST;
    my $body = join '', map { pack 'n n n N n/a*', 0xC00C, $_->[0], 1, 0, $_->[1] } @found;
    my $asked = substr $message, 12, $end + 4 - 12;
    return pack('n6', $id, $head | 0x0200, 1, 0, 0, 0) . $asked if 12 + length($asked) + length($body) > $LONGEST;
    my $code = $records ? 0 : $unknown;
    return pack('n6', $id, $head | $code, 1, scalar @found, 0, 0) . $asked . $body;
}

# A name in lower case, and where it ends; nothing where there is none.
sub name_at {
    my ($message, $at) = @_;
    my @labels;
    while ($at < length $message) {
        my $size = ord substr $message, $at, 1;
        return (lc join('.', @labels), $at + 1) if $size == 0;
        return if $size > 63 || $at + 1 + $size > length $message;
        push @labels, substr $message, $at + 1, $size;
        $at += 1 + $size;
    }
    return;
}

# What the file says now: name => [[type, data], ...].
sub known {
    my %found;
    open(my $lines, '<', $file) or return \%found;
    while (my $line = <$lines>) {
        $line =~ s/#.*//s;
        my ($address, @names) = split ' ', $line;
        next unless @names;
        my $six = $address =~ /:/;
        my $bytes = inet_pton($six ? AF_INET6 : AF_INET, $address);
        next unless defined $bytes;
        for my $name (map { lc } @names) {
            push @{ $found{$name} }, [ $number{ $six ? 'AAAA' : 'A' }, $bytes ];
        }
        my $reverse =
            $six
            ? join('.', reverse(split //, unpack 'H*', $bytes)) . '.ip6.arpa'
            : join('.', reverse unpack 'C4', $bytes) . '.in-addr.arpa';
        push @{ $found{$reverse} }, [ $number{PTR}, encoded($names[0]) ] unless $found{$reverse};
    }
    return \%found;
}

sub encoded {
    my ($name) = @_;
    return join('', map { pack 'C/a*', $_ } split /\./, $name) . "\0";
}
