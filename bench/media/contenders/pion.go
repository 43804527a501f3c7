// A relay on pion, the library under several servers in Go: what each publisher sends goes to everybody who listens to it.
//
//	relay PORT
//
// POST /publish?id=N and /listen?id=N&id=M take an offer and answer it. Loopback only; the interceptors that pion recommends
// (NACK both ways, reports, transport-cc) are on; every peer has a socket of its own.
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc"
)

const largestPacket = 1500

var kinds = map[string]webrtc.RTPCodecParameters{
	"video": {
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType:     webrtc.MimeTypeVP8,
			ClockRate:    90000,
			RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}},
		},
		PayloadType: 96,
	},
	"audio": {
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2},
		PayloadType:        111,
	},
}

type relay struct {
	api    *webrtc.API
	lock   sync.Mutex
	tracks map[string]*webrtc.TrackLocalStaticRTP
}

func newRelay() (*relay, error) {
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(address net.IP) bool { return address.IsLoopback() && address.To4() != nil })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	media := &webrtc.MediaEngine{}
	types := map[string]webrtc.RTPCodecType{"video": webrtc.RTPCodecTypeVideo, "audio": webrtc.RTPCodecTypeAudio}
	for kind, codec := range kinds {
		if err := media.RegisterCodec(codec, types[kind]); err != nil {
			return nil, err
		}
		extension := webrtc.RTPHeaderExtensionCapability{URI: "urn:ietf:params:rtp-hdrext:sdes:mid"}
		if err := media.RegisterHeaderExtension(extension, types[kind]); err != nil {
			return nil, err
		}
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, err
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors), webrtc.WithSettingEngine(settings))
	return &relay{api: api, tracks: map[string]*webrtc.TrackLocalStaticRTP{}}, nil
}

func (r *relay) publish(connection *webrtc.PeerConnection, request *http.Request) error {
	id, kind := request.URL.Query().Get("id"), request.URL.Query().Get("kind")
	track, err := webrtc.NewTrackLocalStaticRTP(kinds[kind].RTPCodecCapability, id, "stream"+id)
	if err != nil {
		return err
	}
	r.lock.Lock()
	r.tracks[id] = track
	r.lock.Unlock()
	connection.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		packet := make([]byte, largestPacket)
		for {
			size, _, err := remote.Read(packet)
			if err != nil {
				return
			}
			// A listener that is gone is no reason to stop.
			if _, err := track.Write(packet[:size]); err != nil {
				log.Print(err)
			}
		}
	})
	return nil
}

func (r *relay) listen(connection *webrtc.PeerConnection, request *http.Request) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, id := range request.URL.Query()["id"] {
		sender, err := connection.AddTrack(r.tracks[id])
		if err != nil {
			return err
		}
		// Interceptors see a listener's feedback only while somebody reads it.
		go func() {
			feedback := make([]byte, largestPacket)
			for {
				if _, _, err := sender.Read(feedback); err != nil {
					return
				}
			}
		}()
	}
	return nil
}

func (r *relay) answered(prepare func(*webrtc.PeerConnection, *http.Request) error) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		text, err := r.answer(prepare, request)
		if err != nil {
			http.Error(response, err.Error(), http.StatusInternalServerError)
			return
		}
		if _, err := io.WriteString(response, text); err != nil {
			log.Print(err)
		}
	}
}

func (r *relay) answer(prepare func(*webrtc.PeerConnection, *http.Request) error, request *http.Request) (string, error) {
	offer, err := io.ReadAll(request.Body)
	if err != nil {
		return "", err
	}
	connection, err := r.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	if err := prepare(connection, request); err != nil {
		return "", err
	}
	if err := connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)}); err != nil {
		return "", err
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return connection.LocalDescription().SDP, nil
}

func main() {
	r, err := newRelay()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/publish", r.answered(r.publish))
	http.HandleFunc("/listen", r.answered(r.listen))
	http.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
