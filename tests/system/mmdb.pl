#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes a database of MaxMind's format, by their own writer.
#
#   mmdb.pl FILE TYPE EPOCH NETWORK=VALUE …
#
# TYPE is what the database calls itself. VALUE is a country (CA), a country that is only registered
# (registered:CA), an autonomous system (AS577), or empty: a record that says neither. EPOCH is when
# it was built, in seconds. With "4" in front of the type it holds IPv4 alone.
use strict;
use warnings;

eval { require MaxMind::DB::Writer::Tree; 1 } or exit 77;

my ($file, $type, $epoch, @networks) = @ARGV;
exit 0 unless defined $file;
my $version = $type =~ s/^4// ? 4 : 6;
my %types = (
    autonomous_system_number => 'uint32',
    country                  => 'map',
    iso_code                 => 'utf8_string',
    names                    => 'map',
    registered_country       => 'map',
);
my $tree = MaxMind::DB::Writer::Tree->new(
    ip_version               => $version,
    record_size              => 24,
    database_type            => $type,
    languages                => ['en'],
    description              => { en => 'for tests' },
    alias_ipv6_to_ipv4       => 0,
    remove_reserved_networks => 0,
    map_key_type_callback    => sub { $types{ $_[0] } || 'utf8_string' },
);
$tree->_set_build_epoch($epoch);
for (@networks) {
    my ($network, $value) = split /=/, $_, 2;
    my $record =
          $value =~ /^AS(\d+)$/ ? { autonomous_system_number => $1 }
        : $value =~ /^registered:(..)$/ ? { registered_country => { iso_code => $1 } }
        : $value eq '' ? { names => { en => 'nowhere' } }
        :                { country => { iso_code => $value }, registered_country => { iso_code => 'US' } };
    $tree->insert_network($network, $record);
}
open my $handle, '>:raw', $file or die "$file: $!";
$tree->write_tree($handle);
close $handle or die "$file: $!";
