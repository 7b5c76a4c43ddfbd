#!/bin/sh
# Prints a Job that runs one command of sluice as the setup Job of an overlay runs: the same image, settings,
# account, password and room. It needs no cluster; docs/kubernetes.md says which commands belong here.
#
#   sh k8s/once.sh OVERLAY COMMAND [WORD…] | kubectl apply -f -
set -eu
usage='usage: sh k8s/once.sh OVERLAY COMMAND [WORD…] | kubectl apply -f -'
overlay=${1:?"$usage"}
command=${2:?"$usage"}
shift
words=
for word in "$@"; do
	case $word in
	*[!A-Za-z0-9_.,:=/@+-]*)
		echo "once.sh: $word has characters that no word of these commands needs" >&2
		exit 2
		;;
	esac
	words="$words${words:+, }\"$word\""
done
case $command in
*[!a-z]*)
	echo "once.sh: $command is no command of sluice" >&2
	exit 2
	;;
esac
objects=$(kubectl kustomize "$overlay")
# Not tried again by itself: whoever started it reads its log first, which stays for an hour.
printf '%s\n' "$objects" |
	awk '
		function tell() { if (text ~ /\nkind: Job\n/ && text ~ /\n  name: sluice-setup\n/) printf "%s", text }
		/^---$/ { tell(); text = "\n"; next }
		{ text = text $0 "\n" }
		END { tell() }' |
	kubectl patch --local -f - --type=json -o yaml -p "[
		{\"op\": \"replace\", \"path\": \"/metadata/name\", \"value\": \"sluice-once-$command\"},
		{\"op\": \"replace\", \"path\": \"/spec/backoffLimit\", \"value\": 0},
		{\"op\": \"replace\", \"path\": \"/spec/activeDeadlineSeconds\", \"value\": 3600},
		{\"op\": \"replace\", \"path\": \"/spec/template/spec/containers/0/args\", \"value\": [$words]}
	]"
