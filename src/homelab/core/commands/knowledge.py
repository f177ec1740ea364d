"""What well-known commands do with their arguments, as a table. To teach another command, add a row.

A row is `NAMES : ITEMS`. Names are separated by commas; `git pull` is a command and its subcommand. Items:

    r w ...       roles of the operands in order; `r*` any number of them
    -o=w          the option takes a value, which has that role; `-o=` a value that is no file
    -d?x.gz*      with this flag the operands have these roles instead (several: commas); the first such flag counts
    +W:PATH       always, whatever the arguments; a relative path is seen from the working folder
    @             operands may lie on another machine (HOST:PATH, REMOTE:PATH, s3://BUCKET/KEY)
    place=NAME    where names of the roles q and Q live
    !NAME         the command has a grammar of its own, in a function of that name (core.commands.grammars)

A line that begins with blanks goes on with the row above it.

Roles, in capitals for a folder with all below it:

    r R  read        w W  write, made anew     a  append      u U  changed in place      d D  deleted
    t    asked for   c    made empty (touch)   m  moved away  g G  where copies go       v    looked at
    z.EXT  replaced by the same name with EXT   k.EXT  the same, but kept   x.EXT  replaced by the name without it
    q Q  a database, read or written   C  the folder to work in   s  a script that is run   e  shell text that is run
    L    a lock      o  a log it prints to   i  an image, fetched   p    a path of which nobody knows what becomes
    B    changed in place as building does   -    no file
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_TABLE = """
# --- text ---
cat,zcat,bzcat,xzcat,tac,nl,od,xxd,strings,fold,fmt,column,tsort,base64,sum,cksum,b2sum,md5,less,more,bat : r*
head,tail : r* -n= -c= -s=
md5sum,sha1sum,sha256sum,sha512sum : r* -c?r*
wc,file,stat,identify,du,ls,tree,ll,ncdu,dust : v* -d= -c= --max-depth= --format= -I=
df,mountpoint,lsblk : -*
grep,egrep,fgrep,zgrep,rg,ag : - r* -e= -f=r -A= -B= -C= -m= -r?-,R* -R?-,R* --include= --exclude= --exclude-dir=
sort : r* -o=w --output=w -k= -t= -T= -S=
uniq : r w
cut : r* -d= -f= -c=
paste,join,comm,diff,cmp,sdiff,colordiff : r* -d= -t= -1= -2= -o= -u= -L=
awk,gawk,mawk : - r* -f=s -v= -F=
jq,yq : - r* -f=r --arg= --argjson= --slurpfile= --rawfile= --indent= --from-file=r
tr,echo,printf,true,false,sleep,date,logger,kill,pkill,killall,wall,uptime,who,free,ps,top,expr,seq,yes,sync,: : -*
hostname,whoami,id,uname,pgrep,nproc,wait,umask,ulimit,exit,return,shift,set,read,local,type,which,hash,let : -*
ping,dig,host,nslookup,nc,ncat,telnet,beep,notify-send,ntfy,pushover,apprise,osascript,say,trap,alias,crontab : -*
chmod,chown,chgrp,setfacl,chattr,mount,umount,swapoff,swapon,sysctl,modprobe,ip,ifconfig,iwconfig,nmcli : -*
reboot,shutdown,poweroff,halt,xset,xrandr,amixer,pactl,rtcwake,hdparm,smartctl,sensors,vcgencmd,ntpdate,chronyc : -*
basename,dirname,readlink,realpath,pwd,mktemp,tput,clear,getopts,jobs,disown,fg,bg,stty,tty,history,renice : -*
split,csplit : r -* -l= -b= -n= -a= -d=
sed : !sed -e= -f= --expression= --file= -l=
iconv : r* -o=w -f= -t= --output=w
xmllint : r* --output=w -o=w --xpath= --schema=r
xsltproc : r r* -o=w --output=w --stringparam=
pandoc : r* -o=w --output=w -f= -t= --template=r --css=r -V= -M= --metadata=
envsubst,column,m4 : -*
csvjoin,csvstack,csvsort,csvcut,csvgrep,in2csv,csvstat,csvlook,xsv,mlr,vd : r* -c= -d= -o=w
# --- files ---
cp,gcp : r* g -t=G --target-directory=G -r?R*,G -R?R*,G -a?R*,G --recursive?R*,G --archive?R*,G -S= --suffix=
mv : m* g -t=G --target-directory=G -S=
ln : r g -t=G
install : r* g -d?W* -m= -o= -g= -t=G
rm : d* -r?D* -R?D* --recursive?D*
rmdir,unlink,trash,trash-put : d*
shred,wipe,srm : d* -n= -s= -z
truncate,fallocate : u* -s= -l= -r=r --size=
touch : c* -d= -t= -r=t --date= --reference=t
mkdir : !mkdir -m= --mode=
tee : w* -a?a* --append?a*
sponge : w -a?a
dd : !dd
find,gfind,fd : !find -name= -iname= -path= -ipath= -wholename= -regex= -iregex= -type= -mtime= -mmin= -ctime=
    -cmin= -atime= -amin= -newer= -newermt= -anewer= -cnewer= -size= -user= -group= -perm= -maxdepth= -mindepth=
    -fstype= -inum= -links= -printf= -uid= -gid= -samefile= -lname= -used= -regextype= -D=
xargs,parallel : !xargs -n= -P= -I= -L= -d= -s= -a= -E= -j= --max-args= --max-procs= --delimiter=
logrotate : !logrotate -s= --state= -m= --mail= -l= --log=
savelog : u* -c= -m= -u= -g=
chronicle,multilog : W*
tmpreaper,tmpwatch : - D* --protect= -m=
# --- archives ---
tar,gtar,bsdtar : !tar -f= --file= -C= --directory= -T= --files-from= -X= --exclude-from= --exclude= -I=
    --use-compress-program= -g= --listed-incremental= --transform= -b= -K= -N= --newer= --newer-mtime= -V= --label=
    --owner= --group= --mode= -H= --format= -L= -F= --level= --strip-components= --checkpoint-action= --checkpoint=
    --warning=
gzip,pigz : z.gz* -S= -p= -c?r* -d?x.gz* -k?k.gz* --keep?k.gz* --decompress?x.gz* --stdout?r* -t?r* -l?r*
bzip2,pbzip2,lbzip2 : z.bz2* -p= -c?r* -d?x.bz2* -k?k.bz2* --keep?k.bz2* --stdout?r* -t?r*
xz,lzma,pixz : z.xz* -T= -M= -c?r* -d?x.xz* -k?k.xz* --keep?k.xz* --stdout?r* -t?r*
zstd,pzstd,zstdmt : k.zst* -T= -o=w -c?r* --stdout?r* --rm?z.zst* -d?x.zst* -t?r*
lz4 : k.lz4* -c?r* -d?x.lz4*
gunzip,unpigz : x.gz* -c?r* --stdout?r*
bunzip2 : x.bz2* -c?r*
unxz : x.xz* -c?r*
unzstd : x.zst* -o=w -c?r*
zip : w r* -r?w,R* -@?w -x= -i= -P= -m?w,m* -n= -b= -t=
unzip : r -* -d=W -P= -l?r -p?r -t?r
7z a,7za a,7zr a,7zz a,rar a : w R*
7z x,7za x,7z e,7za e,unrar x,unrar e,7z t,7za t : r -*
ar,cpio : -* -O=w -F=r -I=r
mksquashfs : R w
genisoimage,mkisofs,xorriso : R* -o=w -V= -A=
createrepo,createrepo_c,reprepro,dpkg-scanpackages,apt-ftparchive : U*
par2 create,par2 c : k.par2*
# --- other machines ---
rsync : !rsync -e= --rsh= --exclude= --include= --exclude-from= --include-from= --files-from= -f= --filter=
    --bwlimit= --timeout= --port= --password-file= --log-file= --log-file-format= --backup-dir= --suffix=
    --link-dest= --compare-dest= --copy-dest= -T= --temp-dir= --partial-dir= --chmod= --chown= --max-size=
    --min-size= --rsync-path= --out-format= --info= --usermap= --groupmap= -B= --max-delete= --modify-window=
scp : r* g @ -r?R*,G -i= -P= -o= -c= -l= -F= -J= -S=
sftp : -* -b=r -i= -P= -o=
rclone : @ --config= --log-file=o --bwlimit= --transfers= --include= --exclude= --filter-from= --max-age= --min-age=
    --checkers= --drive-chunk-size= --backup-dir=W
rclone copy,rclone sync,rclone bisync : @ R G
rclone move : @ R G +D:
rclone copyto,rclone moveto : @ r w
rclone cat,rclone ls,rclone lsl,rclone lsf,rclone size,rclone check,rclone cryptcheck : @ v*
rclone delete,rclone purge,rclone deletefile : @ D
rclone mount,rclone serve : @ -*
aws : @ --profile= --region= --endpoint-url= --storage-class= --exclude= --include= --sse= --acl= --query= --output=
    --only-show-errors
aws s3 cp : @ r g --recursive?R,G
aws s3 mv : @ m g --recursive?R,G
aws s3 sync : @ R G
aws s3 rm : @ d --recursive?D
aws s3 ls : @ v
gsutil : @ -o= -h= -u=
gsutil cp,gcloud storage cp : @ r* g -r?R*,G -R?R*,G --recursive?R*,G
gsutil rsync,gcloud storage rsync : @ R G
gsutil rm : @ d* -r?D*
s3cmd,s4cmd,s5cmd : @ -c= --config= --storage-class= --exclude= --host=
s3cmd put,s5cmd cp,s4cmd put : @ r* g -r?R*,G --recursive?R*,G
s3cmd sync,s5cmd sync,s4cmd sync : @ R* G
s3cmd get : @ r g
s3cmd del,s5cmd rm : @ d* -r?D*
mc cp,mc put : @ r* g -r?R*,G --recursive?R*,G
mc mirror : @ R G
b2 sync : @ R G
b2 upload-file,b2 upload_file : - r - --contentType=
b2 file upload : - r -
azcopy copy,azcopy cp,azcopy sync : @ R G
swift upload : - R*
gdrive upload,gdrive files upload,dropbox_uploader upload,dropbox_uploader.sh upload,megaput : r* -* -p= --parent=
    --path= -f=
drive push : R*
ncftpput,wput : r* -* -u= -p= -P=
lftp : !lftp
curl : !curl -o= --output= -T= --upload-file= -d= --data= --data-binary= --data-raw= --data-urlencode= -F= --form=
    -H= --header= -u= --user= -X= --request= -A= --user-agent= -e= --referer= -b= --cookie= -c= --cookie-jar= -K=
    --config= -E= --cert= --key= --cacert= -m= --max-time= --connect-timeout= --retry= --retry-delay=
    --retry-max-time= -w= --write-out= -x= --proxy= -Q= --quote= -r= --range= -C= --continue-at= -D= --dump-header=
    --limit-rate= -z= --time-cond= --output-dir= --url= -y= -Y= -P= --resolve= --netrc-file= --form-string= --json=
    --interface=
wget,aria2c : !wget -O= --output-document= -o= --output-file= -a= --append-output= -i= --input-file= -P=
    --directory-prefix= -U= --user-agent= --user= --password= --header= -t= --tries= -T= --timeout= -w= --wait= -A=
    -R= -D= -I= -X= -l= --level= --post-data= --post-file= --limit-rate= -Q= -e= --execute= -d= --dir=
    --load-cookies= --save-cookies= --body-file=
ssh,autossh,mosh : !ssh -p= -i= -l= -o= -F= -J= -L= -R= -D= -c= -m= -b= -B= -e= -E= -I= -O= -Q= -S= -W= -w=
unison : @ U U
syncthing,insync,onedrive,dropbox : -*
csync2 : -*
# --- backups into a repository ---
restic : --repo=repository -r=repository --password-file= -p= --cache-dir= -o= --tag= --host= -q
restic backup : R* +Q:repository --exclude= --exclude-file= --files-from=r --tag= -e= --host= --iexclude=
restic forget,restic prune,restic check,restic snapshots,restic stats,restic unlock,restic rebuild-index :
    +q:repository -* --keep-last= --keep-daily= --keep-weekly= --keep-monthly= --keep-yearly= --keep-within=
    --read-data-subset= --tag=
restic restore : - +q:repository --target=W -t=W --include=
restic copy : +q:repository --repo2= --from-repo=
borg : -*
borg create : repository R* -C= --compression= -e= --exclude= --exclude-from= --patterns-from= --comment= --filter=
borg prune,borg check,borg compact,borg list,borg info : repositoryread -* --keep-daily= --keep-weekly=
    --keep-monthly= --keep-last= --keep-within= -P= --prefix= -a= --glob-archives=
borg extract,borg export-tar : repositoryread w*
borgmatic,rsnapshot,backupninja,duply,timeshift,snapper,btrbk,autopostgresqlbackup,automysqlbackup : -*
duplicity : @ R G --full-if-older-than= --encrypt-key= --exclude= --include= --name=
duplicity remove-older-than,duplicity cleanup,duplicity remove-all-but-n-full : @ - -
rdiff-backup : @ R G --exclude= --include= --remove-older-than=
kopia snapshot create : R*
tarsnap : R* -f= -c
attic create : - R*
bup index,bup save : R* -n=
proxmox-backup-client backup : -*
vzdump : -* --dumpdir=W --mode= --compress= --storage= --exclude=
zfs : -*
zfs snapshot,zfs snap : Q* place=zfs -r -o=
zfs send : q* place=zfs -i= -I=
zfs destroy : -*
syncoid : q Q place=zfs --exclude= --identifier= --sshkey= --source-bwlimit=
sanoid : +Q:snapshots place=zfs
btrfs : -*
btrfs subvolume snapshot,btrfs sub snap : R W
btrfs send : R -p=
lvcreate,lvremove,zpool,mdadm,xfs_fsr,fstrim,e4defrag : -*
# --- versions ---
git : -C=C --git-dir= --work-tree= -c=
git pull,git checkout,git switch,git reset,git merge,git rebase,git stash,git submodule,git apply : -* +U:. +R:.git
    -b= -m= -s= -X=
git fetch,git remote : -* +U:.git
git clone : - W -b= --branch= --depth= -o= -j= --reference=
git add,git rm : -* +R:. +U:.git
git commit : -* +R:. +U:.git -m= -F=r --author= --date= -C=
git push : -* +r:.git/HEAD
git gc,git fsck,git status,git log,git diff,git tag,git config,git prune,git annex : -*
git archive : -* +R:.git -o=w --output=w --format= --prefix=
git bundle create : w -* +R:.git
svn update,svn up,hg pull,hg update,bzr pull,fossil update : U* +U:.
svnadmin dump,svnrdump dump : R -r=
svnadmin hotcopy : R W
etckeeper commit : -* +R:/etc
# --- building ---
make,gmake,ninja,cmake,ant,gradle,mvn,tox,rake,invoke,just,task,scons,bazel :
    !make -C= -f= -j= -i= -l= --directory= --file=
ansible-playbook,terraform : -* +R:. -i= -e=
npm,yarn,pnpm : -* +R:. --prefix=C -C=C
npm ci,npm install,yarn install,pnpm install,bundle install,composer install,composer update : -* +R:.
    +W:node_modules -d=C --prefix=C
npm run,yarn build,pnpm build,pnpm run,yarn run : -* +R:. +B:. +W:dist +W:build +W:public --prefix=C -C=C
hugo : -* +R:. -s=C --source=C -d=W --destination=W +W:public --config= --baseURL= -b=
jekyll build,bundle exec jekyll : -* +R:. +W:_site -d=W -s=C --destination=W --source=C --config=
mkdocs build : -* +R:. +W:site -f=r -d=W --site-dir=W --config-file=r
zola build,eleventy,gatsby build : -* +R:. +W:public -o=W
pelican : R -* -o=W -s=r +W:output
sphinx-build : R W -b= -d=
cargo build,cargo run : -* +R:. +W:target --manifest-path=r
go build : -* +R:. -o=w
docker,podman,nerdctl : -* -H= --host= --context= -c= --config= -l= --log-level=
docker exec,podman exec,docker container exec,lxc exec,nerdctl exec : !inside -e= --env= -u= --user= -w= --workdir=
    --env-file= --index=
docker run,podman run,docker container run,nerdctl run : !docker-run -v= --volume= -e= --env= --env-file= --name=
    -p= --publish= --network= --net= -u= --user= -w= --workdir= --entrypoint= -m= --memory= --cpus= --mount= -l=
    --label= --restart= -h= --hostname= --add-host= --device= --gpus= --pull= --platform= --link= --log-driver=
    --volumes-from= --shm-size= --dns= --ulimit= --cap-add= --cap-drop= --security-opt= --tmpfs= --log-opt= --ip=
    --runtime=
docker cp,podman cp,docker container cp : @ r g
docker pull,podman pull,docker image pull : i place=image
docker push,podman push : q place=image
docker save : q place=image -o=w --output=w
docker load : -* -i=r --input=r
docker build,podman build : R -f=r -t=Q --tag=Q place=image --build-arg= --platform= --target=
docker system,docker image,docker volume,docker container,docker ps,docker logs,docker restart,docker stop,
    docker start : -*
docker compose : !compose -f= --file= -p= --project-name= --project-directory= --env-file= --profile=
docker-compose : !compose -f= --file= -p= --project-name= --project-directory= --env-file= --profile=
kubectl : !kubectl -n= --namespace= --context= --kubeconfig= -c= --container= -l= -f= -o=
packer,vagrant,helm : -*
# --- this machine's software ---
apt-get,apt,aptitude : -* -o= -t=
apt-get update,apt update,aptitude update,apt-file update : -* +W:/var/lib/apt/lists -o=
apt-get upgrade,apt upgrade,apt-get dist-upgrade,apt full-upgrade,apt-get install,apt install,
    aptitude upgrade,aptitude safe-upgrade,aptitude full-upgrade,unattended-upgrade,unattended-upgrades,
    apt-listchanges,cron-apt : -* +R:/var/lib/apt/lists -o=
apt list,apt-show-versions,apt-check : -* +R:/var/lib/apt/lists
apt-get clean,apt-get autoclean,apt-get autoremove,apt autoremove,apt clean : -*
dnf makecache,yum makecache : -* +W:/var/cache/dnf
dnf upgrade,dnf update,yum update,yum upgrade,dnf check-update,yum check-update : -* +R:/var/cache/dnf
pacman,paru,yay,checkupdates,paccache,emerge,eix-sync,portsnap,zypper,apk,opkg,nix-channel,guix,pip,pip3,pipx,
    gem,flatpak,snap : -*
brew update : -* +W:/opt/homebrew/api
brew upgrade,brew outdated : -* +R:/opt/homebrew/api
brew cleanup : -*
freshclam : -* +W:/var/lib/clamav
clamscan,clamdscan : R* +R:/var/lib/clamav -l=w --log=w --move= --exclude= --exclude-dir= --max-filesize=
rkhunter : -* -l=w --logfile=w
chkrootkit,lynis,debsums,tiger : -*
aide : -* -c=r
sa-update : -* +W:/var/lib/spamassassin
sa-learn : R* -* --dbpath=
updatedb,updatedb.mlocate,updatedb.plocate : -* +W:/var/lib/plocate -U=R -o=w
locate,mlocate,plocate : -* +R:/var/lib/plocate
mandb,ldconfig,depmod,update-initramfs,update-grub,update-alternatives,dpkg,rpm : -*
geoipupdate : -* +W:/usr/share/GeoIP -d=W -f=
certbot,letsencrypt : -* +U:/etc/letsencrypt/live --deploy-hook=e --renew-hook=e --post-hook=e --pre-hook=e -d= -m=
    -w= --webroot-path=
acme.sh,dehydrated,lego,getssl : -* --home= --reloadcmd=e -d= --install-cert
newaliases : +r:/etc/aliases +w:/etc/aliases.db
postmap,postalias : k.db*
systemctl,service,rc-service,launchctl,svc,sv,initctl,invoke-rc.d,supervisorctl,monit,brew services : !service -u=
    --user= -M= -H= -t=
nginx : !nginx
apachectl,apache2ctl,httpd : -* +R:/etc/apache2 +R:/etc/httpd +R:/etc/letsencrypt/live
postfix,doveadm,dovecot : -* +R:/etc/letsencrypt/live
rndc : -* +R:/etc/bind +R:/var/named +R:/var/cache/bind
unbound-control : -* +R:/etc/unbound
iptables-restore,ip6tables-restore,nft,ipset,pfctl,ufw,fail2ban-client,iptables,ip6tables : -* -f=r -file=r
iptables-save,ip6tables-save : -*
pihole : -*
# --- databases ---
pg_dump : q -* place=postgresql -f=w --file=w -d=q --dbname=q -h= -U= -p= -F= -t= -n= -T= -N= -j= -Z= --host=
    --username= --port= --format= --table= --schema= --exclude-table= --exclude-table-data= --compress=
    --lock-wait-timeout=
pg_dumpall : +q:* -* place=postgresql -f=w --file=w -h= -U= -p= -l= --host= --username= --port=
pg_basebackup : +q:* -* place=postgresql -D=W --pgdata=W -h= -U= -p= -F= -X= -Z= --host= --username= --format=
pg_restore : r -* place=postgresql -d=Q --dbname=Q -f=w -h= -U= -p= -j= -F= -t= -n= --host= --username=
createdb : Q -* place=postgresql -h= -U= -p= -O= -T= -E= -w
dropdb : Q place=postgresql -h= -U= -p=
vacuumdb,reindexdb,clusterdb,mysqlcheck,mysqladmin,mariadb-admin,mariadb-check,pg_isready,amcheck,pgbackrest,
    barman,wal-g : -*
psql : !psql -d= --dbname= -h= --host= -p= --port= -U= --username= -c= --command= -f= --file= -o= --output= -v=
    --set= --variable= -L= --log-file= -F= -P= -R= -T=
mysql,mariadb : !mysql -h= --host= -u= --user= -P= --port= -D= --database= -e= --execute= -S= --socket=
    --defaults-file= --defaults-extra-file= --login-path= --default-character-set=
mysqldump,mariadb-dump : q -* place=mysql -r=w --result-file=w -u= -h= -P= --host= --user= --port= --databases?q*
    -B?q* --ignore-table= --where= --defaults-extra-file= --defaults-file= --login-path= -S= --socket= -T=W --tab=W
mariabackup,xtrabackup,mysqlhotcopy : -* --target-dir=W --databases=
mydumper : -* -o=W --outputdir=W --database=q place=mysql
sqlite3,litestream : !sqlite -cmd= -separator= -init= -nullvalue= -newline= -config= -o=
mongodump : -* place=mongodb -d=q --db=q -o=W --out=W --archive=w -h= --host= -u= -p= --uri= -c=
mongorestore : R* place=mongodb -d=Q --db=Q --archive=r --host= -u= -p= --uri= --drop
mongoexport : -* place=mongodb -d=q --db=q -o=w --out=w -c= --collection= -q= --host= --type= -f=
mongoimport : r* place=mongodb -d=Q --db=Q --file=r -c= --collection= --host= --type=
redis-cli : -* --rdb=w -h= -p= -a= -n=
influxd backup,influx backup : W* -portable -database= -db= -host= --bucket= -t= --host=
influxd restore,influx restore : R*
slapcat : -* -l=w -b= -n= -f=
ldapsearch : -*
etcdctl snapshot save : w
clickhouse-client,cqlsh,isql,sqlplus : -*
vault operator raft snapshot save,consul snapshot save : w
# --- pictures, sound, documents, graphs ---
ffmpeg,avconv : !ffmpeg
ffprobe,mediainfo,exiftool,mplayer,mpv,vlc,cvlc,omxplayer,aplay,paplay,mpg123 : p*
convert,magick,gm convert,composite,montage : !lastout -o= --output=
mogrify,jpegoptim,optipng,pngquant,jpegtran,cwebp,exiftran : u* -path=W -resize= -quality= -format= -o=w -outfile=w
arecord,parecord,parec,rec,rtl_fm : -* w -d= -f= -r= -c= -t= -D= -q
lp,lpr,enscript,a2ps : r* -d= -P= -n= -o= -p=w
sox,lame,flac,oggenc,opusenc : r w -b= -V= -o=w
rrdtool : !rrdtool
rrdupdate : u -*
raspistill,libcamera-still,rpicam-still,fswebcam,streamer,scrot,import,imagesnap,screencapture,gphoto2 : !lastout
    -o= --output=
wkhtmltopdf,wkhtmltoimage : r w -s= -O= --page-size=
weasyprint,chromium,google-chrome : r w --print-to-pdf=w --screenshot=w
pdflatex,xelatex,lualatex,latexmk : r -* -output-directory=W
dot,neato : r -* -o=w -T=
qrencode : -* -o=w
ps2pdf,pdftotext,pdftops,rst2html,html2text,markdown,multimarkdown : r w -o=w
tesseract : r - -*
ocrmypdf : r w -l=
yt-dlp,youtube-dl,gallery-dl : -* -o=w -P=W -d=W --paths=W -a=r --batch-file=r --download-archive=u -f= --output=w
    --config-location=r
subliminal,filebot,beet : p*
darktable-cli : r* w
# --- mail ---
mail,mailx,Mail,s-nail : -* -a=r -A=r -s= -r= -c= -b= -S= -q=r
mutt,neomutt : -* -a=r -i=r -s= -c= -b= -F= -e=
mpack : r -* -s= -d=
uuencode : r -
sendmail,msmtp,ssmtp,esmtp : -* -f= -F= -t
sendemail,sendEmail,swaks,s-nail : -* -a=r -o= -f= -t= -u= -m= --attach=r --body=r --to= --from= --server= --header=
telegram-send : r* --file=r --image=r
mbsync,offlineimap,getmail,fetchmail : -* +U:~/Mail
notmuch new,mu index : -* +R:~/Mail
# --- secrets and sums ---
gpg,gpg2 : k.gpg* -o=w --output=w -r= --recipient= -u= --passphrase= --passphrase-file= --passphrase-fd= --batch
    --homedir= --cipher-algo= --pinentry-mode= -d?r* --decrypt?r* --import?r* --verify?r* --sign?k.sig*
    --detach-sign?k.sig*
age : r -o=w --output=w -r= -i= -R= --recipient= --identity=
openssl : -* -in=r -out=w -pass= -k= -kfile= -K= -iv= -md= -CAfile= -connect= -servername=
sops : r --output=w
par2,cosign : -*
# --- logs of the machine ---
goaccess : r* -f=r -o=w --output=w --log-format= --date-format= --time-format= -p=r --config-file=r --geoip-database=r
webalizer : r -o=W -c=r -n= -D=
awffull,visitors : r* -o=w
journalctl : -* -u= -p= --since= --until= --vacuum-time= --vacuum-size= --output= -o= -n=
logwatch : -* --output= --mailto= --detail= --range= --filename=w --service=
last,lastlog,aureport,ausearch,dmesg,vmstat,iostat,mpstat,netstat,ss,lsof,nvidia-smi,docker-gc : -*
sa1 : -* +U:/var/log/sa +U:/var/log/sysstat
sa2,sar,sadf : -* -f=r +R:/var/log/sa +R:/var/log/sysstat
vnstat,vnstati : -* -o=w
pflogsumm,mailgraph,calamaris,sarg,lightsquid : r* -o=W
speedtest,speedtest-cli,fast : -*
nmap : -* -oX=w -oG=w -oN=w -oA=w -iL=r -p= -D=
tcpdump : -* -w=w -r=r -i= -c= -C= -G= -W=
# --- locks ---
lockfile : L* -r= -s= -l=
dotlockfile : L -l=L -p -r=
shlock : -* -f=L -p=
lockfile-create,lockfile-touch,lockfile-check : L -r= -l= --retry=
lockfile-remove : -
"""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One row. `operands` and the values of `flags` are roles in order; `options`: the role of each value."""

    operands: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    always: tuple[tuple[str, str], ...] = ()
    may_be_far: bool = False
    place: str = ""
    grammar: str = ""


@lru_cache(maxsize=1)
def table() -> Mapping[str, Spec]:
    """Every row, by command or command and subcommand (`git pull`)."""
    found: dict[str, Spec] = {}
    for line in _TABLE.replace("\n    ", " ").splitlines():
        if line and not line.startswith("# "):
            names, _, items = line.replace(", ", ",").rpartition(" : ")
            for name in names.split(","):
                found[name] = _spec([*items.split()])
    return found


def lookup(words: list[str]) -> tuple[Spec, int] | None:
    """The row for a command given its name and first operands, and how many of the operands are its subcommand."""
    rows = table()
    for count in range(min(len(words), 5), 0, -1):
        row = rows.get(" ".join(words[:count]))
        if row is not None:
            return row, count - 1
    return None


def _spec(items: list[str]) -> Spec:
    operands: list[str] = []
    options: dict[str, str] = {}
    flags: dict[str, tuple[str, ...]] = {}
    always: list[tuple[str, str]] = []
    place = grammar = ""
    for item in items:
        if item.startswith("-") and "?" in item:
            name, _, roles = item.partition("?")
            flags[name] = tuple(roles.split(","))
        elif item.startswith("-") and "=" in item:
            name, _, role = item.partition("=")
            options[name] = role
        elif item.startswith("+"):
            role, _, target = item[1:].partition(":")
            always.append((role, target))
        elif item.startswith("!"):
            grammar = item[1:]
        elif item.startswith("place="):
            place = item.removeprefix("place=")
        elif item != "@" and (not item.startswith("-") or item in ("-", "-*")):
            operands.append(item)
    return Spec(
        operands=tuple(operands),
        options=options,
        flags=flags,
        always=tuple(always),
        may_be_far="@" in items,
        place=place,
        grammar=grammar,
    )
